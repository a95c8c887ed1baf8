from __future__ import annotations

from typing import Any

import pytest
import torch
from head_cases import FINISHES, TOLERANCE, HeadCase, assert_topk, head_case, poisoned_buffers
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_device import DEVICE
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe_kernels.head_topk import merge
from specframe_kernels.sparse_head_topk import naive
from specframe_kernels.sparse_head_topk import triton as kernel

pytestmark = pytest.mark.numbers

TOP_K = 10
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
finishes = pytest.mark.parametrize("finish", FINISHES.values(), ids=FINISHES)


def topk(case: HeadCase, k: int = TOP_K, **finish: Any) -> tuple[Tensor, Tensor]:
    out = poisoned_buffers(case, k)
    kernel.sparse_head_topk(*case.head, out, **finish)
    return out.log_probs, out.token_ids


def logits(case: HeadCase, **finish: Any) -> Tensor:
    out = torch.full((len(case.hidden), len(case.packed)), torch.nan, device=DEVICE)
    kernel.sparse_head_logits(*case.head[:4], out, **finish)
    return out


def check(case: HeadCase, k: int = TOP_K, **finish: Any) -> None:
    reference = naive.sparse_head_logits(*case.head[:4], **finish)[:, : int(case.count)]
    tolerance = TOLERANCE[case.packed.dtype]
    assert_topk(*topk(case, k, **finish), reference.log_softmax(dim=-1), case.token_of, tolerance)


@pytest.mark.parametrize("count", [1, 63, 1023, 3072])
@pytest.mark.parametrize(("n", "k"), [(1, TOP_K), (10, TOP_K), (61, 3)])
def test_it_agrees_with_float64_for_any_active_size(n: int, k: int, count: int) -> None:
    check(head_case(n, count, 48), k)


@dtypes
@pytest.mark.parametrize("hidden_size", [576, 640, 3584])
def test_it_agrees_with_float64_for_any_hidden_size(hidden_size: int, dtype: torch.dtype) -> None:
    check(head_case(10, 63, hidden_size, dtype))


@dtypes
@finishes
def test_bias_scale_and_softcap_are_applied_in_this_order(
    finish: dict[str, float], dtype: torch.dtype
) -> None:
    check(head_case(3, 70, 64, dtype, with_bias=True), **finish)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 70), count=st.integers(0, 80), spare=st.integers(0, 70), k=st.integers(1, 12))
def test_it_agrees_with_the_naive_definition_tie_by_tie(n: int, count: int, spare: int, k: int) -> None:
    case = head_case(n, count, 8, capacity=max(count + spare, 1), integers=True)
    expected = naive.sparse_head_topk(*case.head, k)
    log_probs, token_ids = topk(case, k)
    assert torch.equal(token_ids, expected[1])
    torch.testing.assert_close(log_probs, expected[0], rtol=1e-5, atol=1e-5)


def test_equal_logits_come_by_lowest_slot() -> None:
    case = head_case(2, 100, 16)
    case.hidden.fill_(1.0)  # sums of ones are exact in any order, so equal rows have equal logits
    case.packed[:100] = 1.0
    _, token_ids = topk(case)
    assert token_ids.tolist() == [case.token_of[:TOP_K].tolist()] * 2


def test_positive_and_negative_zero_are_equal_logits() -> None:
    case = head_case(1, 2, 16)
    case.hidden.fill_(1e-20)
    case.packed[0], case.packed[1] = -1e-20, 1e-20
    _, token_ids = topk(case, 2, scale=1e-20)  # underflows to -0.0 and 0.0
    assert token_ids.tolist() == [case.token_of[:2].tolist()]


def test_an_empty_active_set_gives_no_candidates() -> None:
    log_probs, token_ids = topk(head_case(3, 0, 16))
    assert log_probs.isneginf().all()
    assert (token_ids == -1).all()


def test_the_log_softmax_survives_logits_far_from_zero() -> None:
    case = head_case(3, 70, 64, integers=True)
    case.packed.mul_(1000)
    check(case)


def test_without_an_active_set_slots_are_token_ids() -> None:
    case = head_case(2, 40, 16)
    out = poisoned_buffers(case, TOP_K)
    kernel.sparse_head_topk(*case.head[:4], None, out)
    expected = naive.sparse_head_topk(*case.head[:4], None, TOP_K)
    assert torch.equal(out.token_ids, expected[1])


def test_more_candidates_than_one_chunk_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "CHUNK", 16)
    case = head_case(2, 800, 16)
    case.packed[799] = 10 * case.hidden[0]  # the peak is in the last chunk
    check(case)


def test_large_heads_are_cut_into_larger_blocks() -> None:
    case = head_case(2, 150, 16, capacity=8200)
    assert poisoned_buffers(case, 1).peaks.shape == (2, 129)
    check(case)


def test_one_buffer_serves_any_active_size() -> None:
    case = head_case(2, 200, 16)
    out = poisoned_buffers(case, TOP_K)
    for count in (200, 3, 64):
        case.count.fill_(count)
        kernel.sparse_head_topk(*case.head, out)
        assert torch.equal(out.token_ids, naive.sparse_head_topk(*case.head, TOP_K)[1])


def test_the_same_input_gives_the_same_bits() -> None:
    case = head_case(5, 300, 64, torch.bfloat16)
    first, again = topk(case), topk(case)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@dtypes
@finishes
@pytest.mark.parametrize("n", [1, 61])
def test_the_logits_mode_agrees_with_float64(n: int, finish: dict[str, float], dtype: torch.dtype) -> None:
    case = head_case(n, 75, 96, dtype, with_bias=True, capacity=150)
    expected = naive.sparse_head_logits(*case.head[:4], **finish)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(logits(case, **finish).double(), expected, rtol=tolerance, atol=tolerance)


def test_a_small_logit_keeps_its_digits_under_a_soft_cap() -> None:
    case = head_case(4, 60, 32)
    case.hidden.mul_(1e-3)
    expected = naive.sparse_head_logits(*case.head[:4], softcap=30.0)[:, :60]
    torch.testing.assert_close(logits(case, softcap=30.0)[:, :60].double(), expected, rtol=1e-5, atol=1e-8)


def test_the_naive_definition_is_the_head_of_the_core() -> None:
    case = head_case(4, 30, 16, with_bias=True, capacity=30)
    head = OutputHead(case.packed, case.bias, scale=2.5, softcap=30.0)
    torch.testing.assert_close(
        naive.sparse_head_logits(*case.head[:4], scale=2.5, softcap=30.0).float(),
        head.logits(case.hidden),
    )


def test_a_packed_head_that_is_not_contiguous_is_refused() -> None:
    case = head_case(1, 16, 16, capacity=16)
    with pytest.raises(ValueError, match="packed must be contiguous"):
        kernel.sparse_head_topk(
            case.hidden, case.packed.T, None, case.count, case.token_of, poisoned_buffers(case, 1)
        )
