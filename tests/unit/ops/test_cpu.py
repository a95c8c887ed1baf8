from __future__ import annotations

import pytest
import torch

from specframe.ops.cpu import multiplies_bfloat16, why_slow


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


@pytest.mark.parametrize(
    ("dtype", "in_hardware", "slow"),
    [
        (torch.float32, False, False),
        (torch.bfloat16, True, False),
        (torch.bfloat16, False, True),
        (torch.float16, True, True),
    ],
)
def test_half_precision_without_products_of_it_is_known_to_be_slow(
    dtype: torch.dtype, in_hardware: bool, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": in_hardware})
    assert (why_slow(dtype) is not None) == slow
