"""Where a run computes, and in which dtype: names resolved, and what ``auto`` takes."""

from __future__ import annotations

import logging

import attrs
import torch

from specframe.config import AUTO, RunConfig
from specframe.errors import UsageError, unknown_name
from specframe.model.loading import stored_dtype
from specframe.ops.cpu import multiplies_bfloat16

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True)
class Choice:
    """What ``auto`` takes, and why in a few words."""

    name: str
    reason: str


def find_device(name: str) -> torch.device:
    """Return a device by name.

    Raises:
        UsageError: it is not available here.
    """
    name = auto_device().name if name == AUTO else name
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        available = [AUTO, "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise UsageError(f"device {name!r} is not available; available: {', '.join(available)}") from None
    return device


def find_dtype(name: str) -> torch.dtype:
    """Return a dtype by name.

    Raises:
        UsageError: weights of that dtype are not supported.
    """
    if name not in DTYPES:
        raise unknown_name("dtype", name, [*DTYPES, AUTO])
    return DTYPES[name]


def name_of(dtype: torch.dtype) -> str:
    """Return what a dtype of ``DTYPES`` is called."""
    return str(dtype).removeprefix("torch.")


def auto_device() -> Choice:
    """Return the device that ``auto`` takes: a GPU if there is one, else the CPU."""
    if torch.cuda.is_available():  # ROCm devices are called so too
        return Choice("cuda", f"a GPU is here, {torch.cuda.get_device_name()}")
    return Choice("cpu", "no CUDA or ROCm device is here")


def auto_dtype(device: torch.device, stored: str | None) -> Choice:
    """Return the dtype that ``auto`` takes: the checkpoint's where the device multiplies it, else float32.

    Args:
        device: where the model runs.
        stored: the dtype of the checkpoint; None where it does not say.
    """
    if stored not in DTYPES:
        return Choice("float32", f"the checkpoint has {stored or 'no dtype'}")
    if stored == "float32" or _multiplies(device, stored):
        return Choice(stored, f"what the checkpoint has, and {device.type} multiplies")
    return Choice("float32", f"the checkpoint has {stored}, which this {device.type} does not multiply")


def _multiplies(device: torch.device, dtype: str) -> bool:
    """Return whether a device has products of a half precision in hardware."""
    if device.type == "cpu":
        return dtype == "bfloat16" and multiplies_bfloat16()
    if device.type == "cuda" and dtype == "bfloat16":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return True


def resolve_placement(config: RunConfig) -> RunConfig:
    """Replace ``auto`` as device and as dtype by what it takes here.

    Raises:
        UsageError: the device is not available.
    """
    if config.device == AUTO:
        device = auto_device()
        _log.info("device: %s, %s", device.name, device.reason)
        config = attrs.evolve(config, device=device.name)
    if config.dtype == AUTO:
        dtype = auto_dtype(find_device(config.device), stored_dtype(config.model))
        _log.info("dtype: %s, %s", dtype.name, dtype.reason)
        config = attrs.evolve(config, dtype=dtype.name)
    return config
