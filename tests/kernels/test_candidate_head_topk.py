from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from head_cases import FINISHES, TOLERANCE, poison
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_device import DEVICE
from torch import Tensor

from specframe_kernels.candidate_head_topk import naive
from specframe_kernels.candidate_head_topk import triton as kernel
from specframe_kernels.head_topk import merge
from specframe_kernels.head_topk.buffers import TopKBuffers

pytestmark = pytest.mark.numbers

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
finishes = pytest.mark.parametrize("finish", FINISHES.values(), ids=FINISHES)


@attrs.frozen
class ScreenCase:
    """States with candidates of their own beside an active set; NaN in the rows that are neither."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    candidates: Tensor
    active: Tensor
    capacity: int

    @property
    def active_set(self) -> dict[str, Tensor]:
        """The tensors of the active set; what lies behind the count is nonsense."""
        slot_of = torch.full((len(self.weight),), -1, dtype=torch.int32, device=DEVICE)
        slot_of[self.active] = torch.arange(len(self.active), dtype=torch.int32, device=DEVICE)
        token_of = torch.full((self.capacity,), 2**30, dtype=torch.int32, device=DEVICE)
        token_of[: len(self.active)] = self.active
        return {
            "count": torch.tensor(len(self.active), device=DEVICE),
            "slot_of": slot_of,
            "token_of": token_of,
        }

    def topk(self, k: int, *, packed: bool = False, **options: Any) -> tuple[Tensor, Tensor]:
        """Return what the kernels make of it, into buffers in which whatever is not written shows."""
        copies = None
        if packed:
            rows = self.weight.new_full((self.capacity, self.weight.shape[1]), torch.nan)
            rows[: len(self.active)] = self.weight[self.active]
            biases = None if self.bias is None else self.bias.new_full((self.capacity,), torch.nan)
            if biases is not None and self.bias is not None:
                biases[: len(self.active)] = self.bias[self.active]
            copies = rows, biases
        out = poison(
            TopKBuffers.allocate(len(self.hidden), k, self.capacity, DEVICE, self.candidates.shape[1])
        )
        inputs = (self.hidden, self.weight, self.bias, self.candidates)
        kernel.candidate_head_topk(*inputs, out, **self.active_set, packed=copies, **options)
        return out.log_probs, out.token_ids

    def expected(self, k: int, **options: Any) -> tuple[Tensor, Tensor]:
        """Return what the definition makes of it."""
        inputs = (self.hidden, self.weight, self.bias, self.candidates)
        return naive.candidate_head_topk(*inputs, self.active, k, **options)


def screen_case(
    n: int,
    candidates: int,
    active: int,
    hidden_size: int,
    dtype: torch.dtype = torch.float32,
    *,
    spare: int = 5,
    with_bias: bool = False,
    integers: bool = False,
) -> ScreenCase:
    """Return a random case in which some candidates are active and some are none."""
    generator = torch.Generator().manual_seed(n + candidates + active + hidden_size)
    vocab_size = 2 * (candidates + active) + 3

    def values(*shape: int) -> Tensor:
        if integers:
            return torch.randint(-1, 2, shape, generator=generator).to(DEVICE, dtype)
        return torch.randn(shape, generator=generator).to(DEVICE, dtype)

    hidden = values(n, hidden_size) * (1 if integers else hidden_size**-0.5)
    weight, bias = values(vocab_size, hidden_size), values(vocab_size) if with_bias else None
    rows = torch.stack([torch.randperm(vocab_size, generator=generator)[:candidates] for _ in range(n)])
    rows[torch.rand(rows.shape, generator=generator) < 0.1] = -1
    rows = rows.to(DEVICE)
    ids = torch.randperm(vocab_size, generator=generator)[:active].to(DEVICE)
    unused = torch.ones(vocab_size, dtype=torch.bool, device=DEVICE)
    unused[rows[rows >= 0]] = False
    unused[ids] = False
    weight[unused] = torch.nan
    if bias is not None:
        bias[unused] = torch.nan
    return ScreenCase(hidden, weight, bias, rows, ids, active + spare)


def check(case: ScreenCase, k: int = 6, **options: Any) -> None:
    """Compare with the definition; rounding may exchange neighbours, so log-probabilities decide."""
    tolerance = TOLERANCE[case.weight.dtype]
    finish = {name: options[name] for name in ("scale", "softcap", "log_sums") if name in options}
    expected, _ = case.expected(k, **finish)
    log_probs, rows = case.topk(k, **options)
    torch.testing.assert_close(log_probs, expected, rtol=tolerance, atol=tolerance)
    # Every row has the log-probability that the definition gives it.
    every, names = case.expected(case.candidates.shape[1] + len(case.active), **finish)
    for state, found in enumerate(rows.tolist()):
        there = [row for row in found if row >= 0]
        assert len(set(there)) == len(there) == int(expected[state].isfinite().sum())
        own = dict(zip(names[state].tolist(), every[state].tolist(), strict=True))
        wanted = torch.tensor([own[row] for row in there], device=DEVICE)
        torch.testing.assert_close(log_probs[state, : len(there)], wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("packed", [False, True], ids=["indexed", "packed"])
@pytest.mark.parametrize(("n", "candidates", "active"), [(1, 1, 0), (3, 15, 40), (10, 33, 5), (61, 7, 70)])
def test_it_agrees_with_the_definition(n: int, candidates: int, active: int, packed: bool) -> None:
    check(screen_case(n, candidates, active, 48), packed=packed)


@dtypes
@pytest.mark.parametrize("hidden_size", [1, 576, 640, 3584])
def test_it_agrees_for_any_hidden_size(hidden_size: int, dtype: torch.dtype) -> None:
    check(screen_case(2, 20, 9, hidden_size, dtype))


@dtypes
@finishes
def test_bias_scale_and_softcap_are_applied_in_this_order(
    finish: dict[str, float], dtype: torch.dtype
) -> None:
    check(screen_case(3, 40, 20, 64, dtype, with_bias=True), packed=True, **finish)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 20),
    candidates=st.integers(1, 40),
    active=st.integers(0, 70),
    spare=st.integers(0, 40),
    k=st.integers(1, 12),
    packed=st.booleans(),
)
def test_it_agrees_with_the_definition_tie_by_tie(
    n: int, candidates: int, active: int, spare: int, k: int, packed: bool
) -> None:
    case = screen_case(n, candidates, active, 8, spare=spare, integers=True)
    log_probs, rows = case.topk(k, packed=packed)
    expected = case.expected(k)
    assert torch.equal(rows, expected[1])
    torch.testing.assert_close(log_probs, expected[0], rtol=1e-5, atol=1e-5)


def test_a_log_sum_that_the_screen_knows_takes_the_place_of_the_unions() -> None:
    case = screen_case(4, 20, 10, 32)
    check(case, log_sums=torch.randn(4, generator=torch.Generator().manual_seed(0)).to(DEVICE))


def test_a_candidate_that_is_active_counts_once() -> None:
    case = screen_case(2, 6, 6, 16)
    case = attrs.evolve(case, candidates=case.active.expand(2, -1).contiguous())
    log_probs, rows = case.topk(12)
    assert [sorted(row[:6]) for row in rows.tolist()] == [sorted(case.active.tolist())] * 2
    torch.testing.assert_close(log_probs[:, :6].exp().sum(1), torch.ones(2, device=DEVICE))
    assert (rows[:, 6:] == -1).all()


def test_a_state_without_a_candidate_drafts_from_the_active_set() -> None:
    case = screen_case(2, 20, 3, 16)
    case.candidates[1] = -1
    check(case, 5)


def test_without_candidates_and_active_tokens_there_is_nothing() -> None:
    case = screen_case(2, 20, 0, 16, spare=4)
    case.candidates[0] = -1
    log_probs, rows = case.topk(3)
    assert rows[0].tolist() == [-1] * 3
    assert log_probs[0].isneginf().all()
    assert log_probs[1].isfinite().all()


def test_rows_outside_the_head_are_none() -> None:
    case = screen_case(1, 20, 0, 16)
    case.candidates[0, :5] = torch.tensor([len(case.weight), 2**40, -7, len(case.weight) + 1, -(2**40)])
    check(case, 20)


def test_more_blocks_than_one_chunk_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "CHUNK", 16)
    case = screen_case(2, 400, 300, 16)
    case.candidates[0, :350] = -1  # whole chunks of blocks hold nothing
    check(case)


def test_one_buffer_serves_any_active_size() -> None:
    case = screen_case(2, 20, 60, 16)
    for active in (60, 3, 0, 40):
        check(attrs.evolve(case, active=case.active[:active], capacity=65))


def test_the_same_input_gives_the_same_bits() -> None:
    case = screen_case(5, 100, 60, 64, torch.bfloat16)
    assert all(map(torch.equal, case.topk(8), case.topk(8)))


def test_rows_beyond_two_to_the_31_elements_are_reached() -> None:
    vocab_size = 2**31 // 64 + 3
    weight = torch.empty(vocab_size, 64, dtype=torch.bfloat16, device=DEVICE)  # only the last are touched
    case = screen_case(1, 2, 1, 64, torch.bfloat16)
    weight[-3:] = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)).to(weight)
    last = torch.arange(vocab_size - 3, vocab_size, device=DEVICE)
    check(attrs.evolve(case, weight=weight, candidates=last[None, 1:].contiguous(), active=last[:1]), 3)


def test_candidates_that_are_not_contiguous_are_refused() -> None:
    case = screen_case(3, 4, 0, 16)
    turned = attrs.evolve(case, candidates=case.candidates.T.contiguous().T)
    with pytest.raises(ValueError, match="candidates must be contiguous"):
        turned.topk(1)
