from __future__ import annotations

import pytest
import torch

from specframe.ops.packed_linear import PackedLinear, can_pack

pytestmark = pytest.mark.numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 64), (5, 64), (2, 3, 64)])
@pytest.mark.parametrize("biased", [False, True])
def test_it_computes_a_linear_layer(dtype: torch.dtype, shape: tuple[int, ...], biased: bool) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(40, 64), torch.randn(40), torch.randn(shape)
    expected = torch.nn.functional.linear(x.to(dtype).double(), weight.to(dtype).double())
    if biased:
        expected += bias.to(dtype)
    out = PackedLinear(weight.to(dtype), bias.to(dtype) if biased else None)(x.to(dtype))
    assert out.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=10 * tolerance)


def test_rows_of_a_larger_matrix_can_be_packed() -> None:
    weight = torch.randn(40, 128).bfloat16()[:, ::2]
    x = torch.randn(3, 64).bfloat16()
    torch.testing.assert_close(PackedLinear(weight)(x), torch.nn.functional.linear(x, weight))


def test_only_what_onednn_multiplies_by_on_a_cpu_is_packed() -> None:
    assert can_pack(torch.empty(2, 2))
    assert not can_pack(torch.empty(2, 2, dtype=torch.float64))
    assert not can_pack(torch.empty(2, 2, dtype=torch.bfloat16, device="meta"))
