from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from specframe.config import RunConfig
from specframe.ops.cpu import multiplies_bfloat16
from specframe.registry.choice import resolve_dtype


@pytest.fixture(autouse=True)
def _onednn_handles_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"])
def test_a_cpu_with_one_of_these_multiplies_bfloat16(
    instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: True})
    assert multiplies_bfloat16()


def test_a_cpu_with_avx512_alone_does_not_multiply_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})
    assert not multiplies_bfloat16()


@pytest.mark.parametrize("limit", ["AVX2", "avx512_core"])
def test_onednn_may_be_held_down_to_less_than_the_cpu_has(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert not multiplies_bfloat16()


@pytest.mark.parametrize(("in_hardware", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_only_where_it_is_multiplied_in_hardware(
    in_hardware: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specframe.registry.choice.multiplies_bfloat16", lambda: in_hardware)
    assert resolve_dtype(RunConfig()).dtype == dtype


def test_a_dtype_that_was_asked_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specframe.registry.choice.multiplies_bfloat16", lambda: False)
    assert resolve_dtype(RunConfig(dtype="bfloat16")).dtype == "bfloat16"


def test_a_process_held_down_to_avx2_takes_float32() -> None:
    code = (
        "from specframe.registry.choice import resolve_dtype; from specframe.config import RunConfig; "
        "print(resolve_dtype(RunConfig()).dtype)"
    )
    held_down = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **held_down}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "float32", done.stderr
