"""The doctor compiles kernels for GPUs that are not here; one that does not compile is a finding."""

from __future__ import annotations

import pytest
import torch
import triton

from specframe.registry.components import DoctorRequest, Finding
from specframe_kernels import aot
from specframe_plugins.gathers.triton.diagnosis import COMPILE_TARGETS, diagnose


def findings(*targets: str) -> list[Finding]:
    return list(
        diagnose(
            DoctorRequest(
                device=torch.device("cpu"),
                dtype=torch.bfloat16,
                compile_targets=targets,
                target=None,
                checkpoint=None,
            )
        )
    )


@pytest.fixture
def two_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kernels and a compiler that fails on the second one for gfx942."""

    def compile_launch(name: str, hidden_size: int, launch: None, target: str) -> aot.CompiledKernel:
        if (name, target) == ("second", "gfx942"):
            raise RuntimeError("out of\nregisters")
        return aot.CompiledKernel(name, target, hidden_size, 40, 0, 2048, 4, 0)

    monkeypatch.setattr(aot, "launches", lambda dtype: [("first", 0, None), ("second", 2048, None)])
    monkeypatch.setattr(aot, "compile_launch", compile_launch)
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)


def test_the_targets_are_those_that_the_kernels_compile_for() -> None:
    assert set(COMPILE_TARGETS) == set(aot.TARGETS)


def test_nothing_is_compiled_unasked() -> None:
    assert findings() == []


def test_interpreted_kernels_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    (finding,) = findings("sm_80")
    assert finding.ok is False
    assert "unset TRITON_INTERPRET" in finding.message


@pytest.mark.usefixtures("two_kernels")
def test_every_kernel_and_target_is_one_finding() -> None:
    assert findings("sm_80", "sm_90") == [
        Finding(subject, True, "40 registers, 0 bytes spilled, 2048 bytes of shared memory")
        for subject in ("sm_80 first", "sm_80 second H=2048", "sm_90 first", "sm_90 second H=2048")
    ]


@pytest.mark.usefixtures("two_kernels")
def test_a_kernel_that_does_not_compile_is_broken_and_the_others_are_compiled() -> None:
    first, second, third = findings("gfx942", "sm_80")[:3]
    assert (first.ok, second.ok, third.ok) == (True, False, True)
    assert second.message == "RuntimeError: out of registers"
