"""What ``specframe doctor`` says about the kernels: what compilers make of them, device or no device."""

from __future__ import annotations

from collections.abc import Iterator

from specframe.registry.components import DoctorRequest, Finding

COMPILE_TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")


def diagnose(request: DoctorRequest) -> Iterator[Finding]:
    """Compile every kernel for each target that was asked for."""
    if not request.compile_targets:
        return
    # Imported late: triton is not on every platform.
    import triton

    from specframe_kernels.aot import compile_launch, launches

    if triton.knobs.runtime.interpret:
        yield Finding("kernels", False, "triton interprets them; unset TRITON_INTERPRET to compile them")
        return
    for target in request.compile_targets:
        for kernel, hidden_size, launch in launches(request.dtype):
            subject = f"{target} {kernel}" + (f" H={hidden_size}" if hidden_size else "")
            try:
                compiled = compile_launch(kernel, hidden_size, launch, target)
            except Exception as error:  # a compiler may raise anything
                yield Finding(subject, False, " ".join(f"{type(error).__name__}: {error}".split()))
            else:
                message = (
                    f"{compiled.registers} registers, {compiled.spill_bytes} bytes spilled, "
                    f"{compiled.shared_bytes} bytes of shared memory"
                )
                yield Finding(subject, True, message)
