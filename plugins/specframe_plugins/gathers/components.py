"""The gather backends as they are chosen: names, and where their code is; nothing here imports torch."""

from __future__ import annotations

from importlib.util import find_spec

from specframe.registry.components import Component, Setting
from specframe_plugins.gathers.triton.diagnosis import COMPILE_TARGETS


def runs_triton(setting: Setting) -> str | None:
    """Return why the kernels cannot run with a setting, or None. ROCm devices are called ``cuda`` too."""
    if find_spec("triton") is None:
        return "needs the package triton, which is not installed"
    import triton

    if setting.device.type != "cuda" and not triton.knobs.runtime.interpret:
        return f"needs a CUDA or ROCm device or TRITON_INTERPRET=1; this is {setting.device.type}"
    return None


TORCH = Component(
    name="torch",
    summary="packed LM-head rows with plain PyTorch operations, on any device",
    factory="specframe_plugins.gathers.torch:create",
    priority=lambda setting: 0,
)
PACKED = Component(
    name="triton",
    summary="packed LM-head rows, copied beside other work, and a fused top-k; nothing is read on the host",
    factory="specframe_plugins.gathers.triton.packed:create",
    supports=runs_triton,
    # On a CPU there is only Triton's interpreter, which is for tests: one has to ask for it by name.
    priority=lambda setting: None if setting.device.type == "cpu" else 1,
    diagnose="specframe_plugins.gathers.triton.diagnosis:diagnose",
    compile_targets=COMPILE_TARGETS,
)
INDEXED = Component(
    name="triton-indexed",
    summary="a fused top-k over rows of the full LM head, read where they are; nothing is copied",
    factory="specframe_plugins.gathers.triton.indexed:create",
    supports=runs_triton,
)

# In order of their names.
COMPONENTS = (TORCH, PACKED, INDEXED)
