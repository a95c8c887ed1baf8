from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_device import DEVICE
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.testing import ReferenceGather
from specframe.vocabulary.store import ActiveSet, VocabularyStore
from specframe_kernels.admit import naive
from specframe_kernels.admit import triton as kernel
from specframe_kernels.admit.state import Admission

VOCAB_SIZE = 23
both_evictions = pytest.mark.parametrize("eviction", ["fifo", "lru"])


class RecordingBackend(ReferenceGather):
    """Remembers what the store of the core had fetched last."""

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        super().bind(head, active)
        self.fetched: tuple[list[int], list[int]] = [], []

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        self.fetched = slots.tolist(), ids.tolist()


class Store:
    """The store of the core, with its result in the form of an admission."""

    def __init__(self, capacity: int, eviction: str, pinned: tuple[int, ...], vocab_size: int) -> None:
        self.backend = RecordingBackend()
        self.store = VocabularyStore(
            OutputHead(torch.zeros(vocab_size, 1)),
            self.backend,
            capacity=capacity,
            eviction=eviction,
            pinned_ids=torch.tensor(pinned, dtype=torch.int64),
        )

    def admit(self, ids: Tensor) -> tuple[object, ...]:
        self.backend.fetched = [], []
        self.store.admit(ids.cpu())
        active = self.store.active
        size = int(self.store.active_size)
        return active.slot_of.tolist(), active.token_of[:size].tolist(), size, self.backend.fetched


def make_state(
    capacity: int, eviction: str, pinned: tuple[int, ...] = (), vocab_size: int = VOCAB_SIZE
) -> Admission:
    token_of = torch.full((capacity,), -1, dtype=torch.int32, device=DEVICE)
    token_of[: len(pinned)] = torch.tensor(sorted(pinned), dtype=torch.int32)
    return Admission.over(
        torch.empty(vocab_size, dtype=torch.int32, device=DEVICE),
        token_of,
        torch.empty((), dtype=torch.int64, device=DEVICE),
        pinned=len(pinned),
        lru=eviction == "lru",
    )


def result(state: Admission) -> tuple[object, ...]:
    """Return membership, tokens by slot, their number, and what is to be fetched."""
    new, size = int(state.new_count), int(state.count)
    fetched = state.new_slots[:new].tolist(), state.new_ids[:new].tolist()
    return state.slot_of.tolist(), state.token_of[:size].tolist(), size, fetched


def candidates(ids: list[int]) -> Tensor:
    return torch.tensor(ids, dtype=torch.int64, device=DEVICE)


def admitted(state: Admission, *ids: int) -> list[int]:
    """Admit and return the active ids in order of their slots."""
    kernel.admit(state, candidates(list(ids)))
    return state.token_of[: int(state.count)].tolist()


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, str, tuple[int, ...], list[list[int]]]:
    """Capacity, eviction, pinned ids, and admissions; ids 0 and V-1 turn up more often than others."""
    token = st.one_of(st.integers(0, VOCAB_SIZE - 1), st.sampled_from([0, VOCAB_SIZE - 1]))
    pinned = draw(st.sets(token, max_size=5))
    capacity = draw(st.integers(max(1, len(pinned)), VOCAB_SIZE))
    eviction = draw(st.sampled_from(["fifo", "lru"]))
    ids = st.lists(token, max_size=40)
    return capacity, eviction, tuple(pinned), draw(st.lists(ids, min_size=1, max_size=5))


@settings(max_examples=40, deadline=None)
@given(histories())
def test_it_equals_the_store_of_the_core_slot_by_slot(
    history: tuple[int, str, tuple[int, ...], list[list[int]]],
) -> None:
    capacity, eviction, pinned, admissions = history
    state, store = make_state(capacity, eviction, pinned), Store(capacity, eviction, pinned, VOCAB_SIZE)
    for ids in admissions:
        kernel.admit(state, candidates(ids))
        assert result(state) == store.admit(candidates(ids))


@settings(max_examples=40, deadline=None)
@given(histories(), st.lists(st.integers(-3, VOCAB_SIZE + 3), max_size=30))
def test_it_equals_the_naive_definition_with_ids_out_of_range_too(
    history: tuple[int, str, tuple[int, ...], list[list[int]]], stray: list[int]
) -> None:
    capacity, eviction, pinned, admissions = history
    state, expected = make_state(capacity, eviction, pinned), make_state(capacity, eviction, pinned)
    for ids in [*admissions, stray]:
        kernel.admit(state, candidates(ids))
        naive.admit(expected, candidates(ids))
        assert result(state) == result(expected)
        assert torch.equal(state.order, expected.order)


@both_evictions
def test_more_candidates_than_one_block_agree_with_the_store_of_the_core(eviction: str) -> None:
    vocab_size, capacity, pinned = 6000, 2500, (0, 17, 5999)
    state, store = (
        make_state(capacity, eviction, pinned, vocab_size),
        Store(capacity, eviction, pinned, vocab_size),
    )
    generator = torch.Generator().manual_seed(0)
    for n in (2100, 300, 4000):
        ids = torch.randint(vocab_size, (n,), generator=generator).to(DEVICE)
        kernel.admit(state, ids)
        assert result(state) == store.admit(ids)


@both_evictions
def test_after_a_reset_it_starts_anew(eviction: str) -> None:
    used, fresh = (make_state(5, eviction, (2, 9)) for _ in range(2))
    admitted(used, 3, 4, 5, 3, 6, 7)
    used.reset()
    assert admitted(used, 4, 9, 11) == admitted(fresh, 4, 9, 11)


@both_evictions
def test_what_was_in_the_buffers_does_not_matter(eviction: str) -> None:
    clean, dirty = (make_state(4, eviction) for _ in range(2))
    for scratch in (dirty.new_slots, dirty.new_ids, dirty.new_count, dirty.seen, dirty.next_order):
        scratch.fill_(2**31 - 1)
    dirty.scalars.fill_(-(2**31))
    for ids in ([3, 4, 3], [5, 6, 7, 4]):
        kernel.admit(clean, candidates(ids))
        kernel.admit(dirty, candidates(ids))
        assert result(clean) == result(dirty)


@both_evictions
def test_the_scratch_of_positions_is_clean_again(eviction: str) -> None:
    state = make_state(4, eviction, (1,))
    admitted(state, 1, 3, 4, 5, 6, 3, VOCAB_SIZE - 1, 0)
    assert (state.last_position == -1).all()


@both_evictions
def test_admitting_nothing_lists_nothing_to_fetch(eviction: str) -> None:
    state = make_state(4, eviction)
    admitted(state, 3)
    assert admitted(state) == [3]
    assert int(state.new_count) == 0


@both_evictions
def test_a_store_full_of_pinned_ids_lists_nothing_to_fetch(eviction: str) -> None:
    state = make_state(2, eviction, (1, 2))
    assert admitted(state, 5, 6) == [1, 2]
    assert int(state.new_count) == 0


@both_evictions
def test_a_ring_of_one_slot_holds_the_last_candidate(eviction: str) -> None:
    state = make_state(1, eviction)
    assert [admitted(state, 5, 6, 5), admitted(state, 7)] == [[5], [7]]
