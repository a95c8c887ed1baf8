"""What makes measured seconds those of another machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import attrs
import torch

# Variables that hold a library down to fewer instructions than the CPU has.
_LIMITS = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE")


@attrs.frozen(slots=True, kw_only=True)
class Machine:
    """Whatever seconds depend on besides the model.

    Attributes:
        processor: its name, or that of the GPU.
        instructions: the vector instructions that PyTorch uses on the CPU, and what other libraries are held
            down to.
        threads: of PyTorch.
        pytorch: its version.
        specframe: likewise.
    """

    processor: str
    instructions: str
    threads: int
    pytorch: str
    specframe: str

    @classmethod
    def of(cls, device: torch.device) -> Machine:
        """Return this machine, as far as work on ``device`` depends on it."""
        limits = [f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)]
        return cls(
            processor=torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
            instructions=" ".join([torch.backends.cpu.get_cpu_capability(), *limits]),
            threads=torch.get_num_threads(),
            pytorch=torch.__version__,
            specframe=version("specframe"),
        )


def _processor() -> str:
    """Return what the CPU calls itself; clouds give one name to several, so its family too."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = [line.partition(":") for line in lines]
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    named = [fields.get(name, "") for name in ("model name", "cpu family", "model", "stepping")]
    return " ".join(filter(None, named)) or platform.machine()
