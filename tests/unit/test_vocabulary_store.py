from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from specframe.errors import SpecframeError, UsageError
from specframe.head import OutputHead
from specframe.vocabulary_store import ActiveSet, VocabularyStore

VOCAB_SIZE = 23


class RecordingBackend:
    """Keeps, per slot, the id whose row was fetched last."""

    def __init__(self) -> None:
        self.row_of_slot: dict[int, int] = {}
        self.fetched: list[int] = []

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        self.active = active

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        assert len(set(slots.tolist())) == len(slots), "a slot is fetched twice in one call"
        self.row_of_slot |= dict(zip(slots.tolist(), ids.tolist(), strict=True))
        self.fetched += ids.tolist()


def make_store(capacity: int, eviction: str = "fifo", pinned: tuple[int, ...] = ()) -> VocabularyStore:
    return VocabularyStore(
        OutputHead(torch.zeros(VOCAB_SIZE, 2)),
        RecordingBackend(),
        capacity=capacity,
        eviction=eviction,
        pinned_ids=torch.tensor(pinned, dtype=torch.int64),
    )


def active_ids(store: VocabularyStore) -> list[int]:
    """Return the active ids in order of their slots."""
    return store.active.token_of[: store.size].tolist()


def admit(store: VocabularyStore, *ids: int) -> list[int]:
    store.admit(torch.tensor(ids, dtype=torch.int64))
    return active_ids(store)


class SequentialStore:
    """The definition: candidates one by one, each counted where it stands last."""

    def __init__(self, capacity: int, eviction: str, pinned: set[int]) -> None:
        self.ring = capacity - len(pinned)
        self.eviction = eviction
        self.pinned = pinned
        self.order: list[int] = []  # oldest admission first

    def admit(self, ids: list[int]) -> None:
        candidates = [x for i, x in enumerate(ids) if x not in ids[i + 1 :] and x not in self.pinned]
        if self.eviction == "lru":
            candidates = candidates[-self.ring :] if self.ring else []
            new = [x for x in candidates if x not in self.order]
            self.order = [x for x in self.order if x not in candidates]
            self.order = self.order[max(0, len(self.order) + len(candidates) - self.ring) :] + candidates
            assert set(new) <= set(self.order)
        else:
            new = [x for x in candidates if x not in self.order]
            self.order = (self.order + new)[-self.ring :] if self.ring else []


ids_list = st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=40)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, str, set[int], list[list[int]]]:
    pinned = draw(st.sets(st.integers(0, VOCAB_SIZE - 1), max_size=5))
    capacity = draw(st.integers(max(1, len(pinned)), VOCAB_SIZE))
    eviction = draw(st.sampled_from(["fifo", "lru"]))
    return capacity, eviction, pinned, draw(st.lists(ids_list, max_size=8))


@given(histories())
def test_the_active_set_is_the_one_of_admitting_candidates_one_by_one(
    history: tuple[int, str, set[int], list[list[int]]],
) -> None:
    capacity, eviction, pinned, admissions = history
    store = make_store(capacity, eviction, tuple(pinned))
    expected = SequentialStore(capacity, eviction, pinned)
    for ids in admissions:
        store.admit(torch.tensor(ids, dtype=torch.int64))
        expected.admit(ids)
        assert set(active_ids(store)) == set(expected.order) | pinned


@given(histories())
def test_slots_tokens_and_fetched_rows_always_agree(
    history: tuple[int, str, set[int], list[list[int]]],
) -> None:
    capacity, eviction, pinned, admissions = history
    store = make_store(capacity, eviction, tuple(pinned))
    for ids in [*admissions, None, *admissions]:
        store.reset() if ids is None else store.admit(torch.tensor(ids, dtype=torch.int64))
        tokens = active_ids(store)
        assert store.size <= capacity
        assert len(set(tokens)) == len(tokens), "a token has two slots"
        assert pinned <= set(tokens), "a pinned id was evicted"
        slot_of = store.active.slot_of
        assert {int(t): int(slot_of[t]) for t in (slot_of >= 0).nonzero().flatten()} == {
            token: slot for slot, token in enumerate(tokens)
        }, "a stale slot"
        assert [store._backend.row_of_slot[slot] for slot in range(store.size)] == tokens, "a stale row"


@given(histories(), ids_list)
def test_after_a_reset_nothing_of_an_earlier_request_can_be_seen(
    history: tuple[int, str, set[int], list[list[int]]], ids: list[int]
) -> None:
    capacity, eviction, pinned, admissions = history
    used, fresh = (make_store(capacity, eviction, tuple(pinned)) for _ in range(2))
    for earlier in admissions:
        used.admit(torch.tensor(earlier, dtype=torch.int64))
    used.reset()
    assert set(active_ids(used)) == pinned
    assert admit(used, *ids) == admit(fresh, *ids)


def test_only_new_ids_are_fetched() -> None:
    store = make_store(8)
    admit(store, 3, 4)
    store._backend.fetched.clear()
    admit(store, 4, 5, 3)
    assert store._backend.fetched == [5]


def test_a_token_keeps_its_slot_while_it_is_active() -> None:
    store = make_store(4, "lru")
    admit(store, 3, 4, 5)
    admit(store, 4, 9)
    assert int(store.active.slot_of[4]) == 1


def test_fifo_evicts_the_oldest_admission_even_if_it_was_seen_again() -> None:
    store = make_store(3)
    admit(store, 3, 4, 5)
    assert set(admit(store, 3, 6)) == {4, 5, 6}


def test_lru_evicts_what_was_seen_longest_ago() -> None:
    store = make_store(3, "lru")
    admit(store, 3, 4, 5)
    assert set(admit(store, 3, 6)) == {3, 5, 6}


def test_of_more_ids_than_slots_the_last_ones_stay() -> None:
    assert set(admit(make_store(3), *range(10))) == {7, 8, 9}


def test_admitting_nothing_changes_nothing() -> None:
    store = make_store(3)
    admit(store, 3)
    assert admit(store) == [3]


def test_contains_says_which_ids_are_active() -> None:
    store = make_store(3, pinned=(7,))
    admit(store, 3)
    assert store.contains(torch.tensor([3, 4, 7])).tolist() == [True, False, True]


def test_a_store_full_of_pinned_ids_admits_nothing() -> None:
    assert admit(make_store(2, pinned=(1, 2)), 5, 6) == [1, 2]


def test_a_capacity_below_the_pinned_ids_is_refused() -> None:
    with pytest.raises(UsageError, match="capacity 1 is below the 2 pinned ids; allowed: 2 or more"):
        make_store(1, pinned=(1, 2))


def test_a_capacity_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(UsageError, match="allowed: at most 23"):
        make_store(24)


@pytest.mark.parametrize("bad", [-1, VOCAB_SIZE])
def test_an_id_out_of_range_is_an_error_that_names_it(bad: int) -> None:
    store = make_store(3)
    with pytest.raises(SpecframeError, match=f"token id {bad}; allowed: 0 to 22"):
        admit(store, 3, bad)
    assert store.size == 0


@settings(max_examples=30)
@given(st.lists(st.integers(0, 10**5 - 1), min_size=1, max_size=100))
def test_admission_touches_only_the_entries_of_its_candidates(ids: list[int]) -> None:
    store = VocabularyStore(
        OutputHead(torch.empty(10**5, 1, device="cpu")),
        RecordingBackend(),
        capacity=64,
        pinned_ids=torch.tensor([], dtype=torch.int64),
    )
    store.admit(torch.tensor(ids))
    assert int((store.active.slot_of >= 0).sum()) == store.size
    assert int((store._last_position >= 0).sum()) == 0
