"""The components ``triton`` and ``triton-indexed``; triton is imported only when one of them is wanted."""

from __future__ import annotations

from importlib.util import find_spec

from specframe.contracts.protocols import GatherBackend
from specframe.registry.components import BuildContext, Component, NoOptions, Setting
from specframe_plugins.gathers.triton.diagnosis import COMPILE_TARGETS, diagnose


def supports(setting: Setting) -> str | None:
    """Return why the kernels cannot run with a setting, or None. ROCm devices are called ``cuda`` too."""
    if find_spec("triton") is None:
        return "needs the package triton, which is not installed"
    import triton

    if setting.device.type != "cuda" and not triton.knobs.runtime.interpret:
        return f"needs a CUDA or ROCm device or TRITON_INTERPRET=1; this is {setting.device.type}"
    return None


def _build_packed(options: NoOptions, context: BuildContext) -> GatherBackend:
    from specframe_plugins.gathers.triton.packed import PackedGather

    return PackedGather()


def _build_indexed(options: NoOptions, context: BuildContext) -> GatherBackend:
    from specframe_plugins.gathers.triton.indexed import IndexedGather

    return IndexedGather()


PACKED = Component(
    name="triton",
    summary="packed LM-head rows, copied beside other work, and a fused top-k; nothing is read on the host",
    factory=_build_packed,
    supports=supports,
    # On a CPU there is only Triton's interpreter, which is for tests: one has to ask for it by name.
    priority=lambda setting: None if setting.device.type == "cpu" else 1,
    diagnose=diagnose,
    compile_targets=COMPILE_TARGETS,
)
INDEXED = Component(
    name="triton-indexed",
    summary="a fused top-k over rows of the full LM head, read where they are; nothing is copied",
    factory=_build_indexed,
    supports=supports,
)
