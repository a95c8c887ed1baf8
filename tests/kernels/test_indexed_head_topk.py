from __future__ import annotations

from typing import Any

import pytest
import torch
from head_cases import FINISHES, TOLERANCE, HeadCase, assert_topk, head_case, poisoned_buffers
from kernel_device import DEVICE
from torch import Tensor

from specframe_kernels.indexed_head_topk import naive
from specframe_kernels.indexed_head_topk import triton as kernel
from specframe_kernels.sparse_head_topk import triton as packed_kernel

pytestmark = pytest.mark.numbers

TOP_K = 10


def full_head(case: HeadCase) -> tuple[Tensor, Tensor | None]:
    """Return a full head whose active rows are those of ``case``; the other ones are NaN."""
    rows = case.token_of[: int(case.count)].long()
    weight = case.packed.new_full((2 * len(case.packed), case.packed.shape[1]), torch.nan)
    weight[rows] = case.packed[: len(rows)]
    if case.bias is None:
        return weight, None
    bias = case.bias.new_full((len(weight),), torch.nan)
    bias[rows] = case.bias[: len(rows)]
    return weight, bias


def topk(case: HeadCase, **finish: Any) -> tuple[Tensor, Tensor]:
    out = poisoned_buffers(case, TOP_K)
    kernel.indexed_head_topk(case.hidden, *full_head(case), case.count, case.token_of, out, **finish)
    return out.log_probs, out.token_ids


@pytest.mark.parametrize(("n", "count"), [(1, 1), (10, 63), (61, 130), (3, 3072)])
def test_it_equals_the_packed_head_bit_by_bit(n: int, count: int) -> None:
    case = head_case(n, count, 48)
    packed = poisoned_buffers(case, TOP_K)
    packed_kernel.sparse_head_topk(*case.head, packed)
    log_probs, token_ids = topk(case)
    assert torch.equal(log_probs, packed.log_probs)
    assert torch.equal(token_ids, packed.token_ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("hidden_size", [576, 640, 3584])
@pytest.mark.parametrize("finish", [{}, FINISHES["scale and softcap"]], ids=["plain", "finished"])
def test_it_agrees_with_float64(finish: dict[str, float], hidden_size: int, dtype: torch.dtype) -> None:
    case = head_case(3, 50, hidden_size, dtype, with_bias=True)
    weight, bias = full_head(case)
    rows = case.token_of[:50].long()
    raw = case.hidden.double() @ weight[rows].double().T + bias[rows].double()
    raw *= finish.get("scale", 1.0)
    if "softcap" in finish:
        raw = finish["softcap"] * torch.tanh(raw / finish["softcap"])
    assert_topk(*topk(case, **finish), raw.log_softmax(dim=-1), case.token_of, TOLERANCE[dtype])


def test_it_agrees_with_the_naive_definition_tie_by_tie() -> None:
    case = head_case(4, 90, 8, integers=True)
    expected = naive.indexed_head_topk(case.hidden, *full_head(case), case.count, case.token_of, TOP_K)
    assert torch.equal(topk(case)[1], expected[1])


def test_an_empty_active_set_gives_no_candidates() -> None:
    log_probs, token_ids = topk(head_case(3, 0, 16))
    assert log_probs.isneginf().all()
    assert (token_ids == -1).all()


def test_rows_beyond_two_to_the_31_elements_are_reached() -> None:
    rows = 2**31 // 64 + 3
    weight = torch.empty(rows, 64, dtype=torch.bfloat16, device=DEVICE)  # only the last rows are touched
    case = head_case(1, 2, 64, torch.bfloat16)
    weight[-2:] = case.packed[:2]
    case.token_of[:2] = torch.tensor([rows - 2, rows - 1])
    out = poisoned_buffers(case, 2)
    kernel.indexed_head_topk(case.hidden, weight, None, case.count, case.token_of, out)
    reference = (case.hidden.double() @ case.packed[:2].double().T).log_softmax(dim=-1)
    assert_topk(out.log_probs, out.token_ids, reference, case.token_of, TOLERANCE[torch.bfloat16])
