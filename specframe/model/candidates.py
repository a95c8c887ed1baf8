"""Which forward runs a model: the one that was asked for, or the fastest that fits."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from specframe.contracts.kinds import ForwardName
from specframe.errors import UsageError, one_line
from specframe.model.borrowed import has_hooks
from specframe.model.fastest import remembered
from specframe.model.forward import Forward, attention_windows
from specframe.model.lean.architecture import why_not
from specframe.model.lean.forward import LeanForward
from specframe.model.lean.parts import DecoderParts, ModelParts
from specframe.model.transformers_forward import TransformersForward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What `auto` spends on a copy of the weights.
_COPY_AT_MOST_BYTES = 4 << 30

_log = logging.getLogger(__name__)


def candidates(
    model: PreTrainedModel, name: str, chosen: ForwardName
) -> Iterator[Callable[[], tuple[ForwardName, Forward]]]:
    """Yield what builds a forward to try for a model, and says its name; the model's own comes last.

    Args:
        model: the model.
        name: how users call it.
        chosen: what was asked for; ``auto`` takes what was measured to be the fastest here, or else ``lean``.

    Raises:
        UsageError: what was chosen cannot run this model, or its attention is unknown.
    """
    windows = attention_windows(model.config.get_text_config())
    if chosen != "transformers":
        reason = "which something listens to" if has_hooks(model.get_decoder()) else why_not(model)
        if chosen != "auto" and reason is not None:
            raise UsageError(f"target forward {chosen!r} cannot run {name}: {reason}; allowed: transformers")
        reason = reason or (_why_not_by_default(model) if chosen == "auto" else None)
        if reason is None:
            yield lambda: build_forward(ModelParts(model), windows, chosen, name)
            if chosen == "auto":
                yield lambda: build_forward(ModelParts(model), windows, "lean", name)
        else:
            _log.info("target forward of %s: transformers, for a model %s", name, reason)
        if chosen != "auto":
            return
    yield lambda: ("transformers", TransformersForward(model, windows))


def _why_not_by_default(model: PreTrainedModel) -> str | None:
    """Return why ``auto`` leaves a model alone that another forward could run."""
    if model.device.type != "cpu":
        return "which has not been measured on this device"
    if sum(parameter.nbytes for parameter in model.parameters()) > _COPY_AT_MOST_BYTES:
        return f"whose copy of the weights would take more than {_COPY_AT_MOST_BYTES >> 30} GiB"
    return None


def build_forward(
    parts: DecoderParts, windows: Mapping[str, int | None], chosen: ForwardName, name: str
) -> tuple[ForwardName, Forward]:
    """Return a forward over a decoder that ``architecture.why_not`` has nothing against, and its name.

    Args:
        parts: of the decoder.
        windows: the sliding window per layer type.
        chosen: ``lean``, ``openvino``, or ``auto`` for the one that was measured to be faster here
            (``fastest.remembered``), which is ``lean`` before that.
        name: how users call the model.

    Raises:
        UsageError: ``openvino`` was asked for and cannot run it.
    """
    reason = None if chosen == "lean" else why_not_openvino(parts)
    by_measurement = chosen == "auto"
    if by_measurement and reason is None:
        chosen = remembered(parts.config, parts.dtype) or chosen
    if chosen != "openvino":
        return "lean", LeanForward(parts, windows)
    if reason is not None:
        raise UsageError(f"target forward 'openvino' cannot run {name}: {reason}")
    try:
        from specframe.model.openvino.forward import OpenVinoForward

        return "openvino", OpenVinoForward(parts, windows)
    except Exception as error:  # a library of its own may fail in any way
        if not by_measurement:
            raise UsageError(f"target forward 'openvino' cannot run {name}: {one_line(error)}") from error
        _log.warning("target forward 'openvino' does not run %s, lean does: %s", name, one_line(error))
        return "lean", LeanForward(parts, windows)


def why_not_openvino(parts: DecoderParts) -> str | None:
    """Return why OpenVINO cannot run a decoder, or None when it can."""
    if importlib.util.find_spec("openvino") is None:
        return "openvino is not installed; install it with: pip install 'specframe[openvino]'"
    if parts.device.type != "cpu":
        return f"it runs on CPUs, and the model is on {parts.device}; allowed: --device cpu"
    if parts.dtype != torch.float32:
        return f"it runs in float32, and the model is in {str(parts.dtype).removeprefix('torch.')}"
    return None
