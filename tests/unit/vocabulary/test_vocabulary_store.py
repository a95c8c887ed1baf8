from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_device import DEVICE
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Admitter, GatherBackend
from specframe.errors import SpecframeError, UsageError
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.triton.admission import TritonAdmitter

VOCAB_SIZE = 23


class RecordingBackend(GatherBackend):
    """Keeps, per slot, the id whose row was fetched last."""

    examples = 100

    def __init__(self) -> None:
        self.row_of_slot: dict[int, int] = {}
        self.fetched: list[int] = []

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        self.active = active

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def logits(self, hidden: Tensor) -> Tensor:
        raise NotImplementedError

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        assert len(set(slots.tolist())) == len(slots), "a slot is fetched twice in one call"
        self.row_of_slot |= dict(zip(slots.tolist(), ids.tolist(), strict=True))
        self.fetched += ids.tolist()


class DeviceBackend(RecordingBackend):
    """Brings the admitter that never reads on the host; interpreted, it is slow."""

    examples = 8

    def admitter(self, active: ActiveSet, pinned: int, eviction: Eviction) -> Admitter:
        return TritonAdmitter(active, pinned, eviction, RecordingRows(self))


class RecordingRows:
    """Tells a recording backend what an admission on the device has fetched."""

    def __init__(self, backend: RecordingBackend) -> None:
        self.backend = backend

    def fetch(self, slots: Tensor, ids: Tensor, count: Tensor) -> None:
        self.backend.fetch(slots[: int(count)], ids[: int(count)])

    def join(self) -> None:
        pass


both_admitters = pytest.mark.parametrize(
    "backend_type", [RecordingBackend, DeviceBackend], ids=["torch", "triton"]
)


def make_store(
    capacity: int,
    eviction: str = "fifo",
    pinned: tuple[int, ...] = (),
    backend: RecordingBackend | None = None,
) -> VocabularyStore:
    return VocabularyStore(
        OutputHead(torch.zeros(VOCAB_SIZE, 2, device=DEVICE)),
        backend or RecordingBackend(),
        capacity=capacity,
        eviction=eviction,
        pinned_ids=torch.tensor(pinned, dtype=torch.int64),
    )


def active_ids(store: VocabularyStore) -> list[int]:
    """Return the active ids in order of their slots."""
    return store.active.token_of[: int(store.active_size)].tolist()


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


@both_admitters
def test_the_active_set_is_the_one_of_admitting_candidates_one_by_one(
    backend_type: type[RecordingBackend],
) -> None:
    @settings(max_examples=backend_type.examples, deadline=None)
    @given(histories())
    def check(history: tuple[int, str, set[int], list[list[int]]]) -> None:
        capacity, eviction, pinned, admissions = history
        store = make_store(capacity, eviction, tuple(pinned), backend_type())
        expected = SequentialStore(capacity, eviction, pinned)
        for ids in admissions:
            store.admit(torch.tensor(ids, dtype=torch.int64))
            expected.admit(ids)
            assert set(active_ids(store)) == set(expected.order) | pinned

    check()


@both_admitters
def test_slots_tokens_and_fetched_rows_always_agree(backend_type: type[RecordingBackend]) -> None:
    @settings(max_examples=backend_type.examples, deadline=None)
    @given(histories())
    def check(history: tuple[int, str, set[int], list[list[int]]]) -> None:
        capacity, eviction, pinned, admissions = history
        backend = backend_type()
        store = make_store(capacity, eviction, tuple(pinned), backend)
        for ids in [*admissions, None, *admissions]:
            store.reset() if ids is None else store.admit(torch.tensor(ids, dtype=torch.int64))
            tokens = active_ids(store)
            assert int(store.active_size) <= capacity
            assert len(set(tokens)) == len(tokens), "a token has two slots"
            assert pinned <= set(tokens), "a pinned id was evicted"
            slot_of = store.active.slot_of
            assert {int(t): int(slot_of[t]) for t in (slot_of >= 0).nonzero().flatten()} == {
                token: slot for slot, token in enumerate(tokens)
            }, "a stale slot"
            assert [backend.row_of_slot[slot] for slot in range(int(store.active_size))] == tokens, (
                "a stale row"
            )

    check()


@both_admitters
def test_after_a_reset_nothing_of_an_earlier_request_can_be_seen(
    backend_type: type[RecordingBackend],
) -> None:
    @settings(max_examples=backend_type.examples, deadline=None)
    @given(histories(), ids_list)
    def check(history: tuple[int, str, set[int], list[list[int]]], ids: list[int]) -> None:
        capacity, eviction, pinned, admissions = history
        used, fresh = (make_store(capacity, eviction, tuple(pinned), backend_type()) for _ in range(2))
        for earlier in admissions:
            used.admit(torch.tensor(earlier, dtype=torch.int64))
        used.reset()
        assert set(active_ids(used)) == pinned
        assert admit(used, *ids) == admit(fresh, *ids)

    check()


@settings(max_examples=12, deadline=None)
@given(histories())
def test_both_admitters_give_the_same_slots_and_fetch_the_same_rows(
    history: tuple[int, str, set[int], list[list[int]]],
) -> None:
    capacity, eviction, pinned, admissions = history
    backends = RecordingBackend(), DeviceBackend()
    stores = [make_store(capacity, eviction, tuple(pinned), backend) for backend in backends]
    for ids in [*admissions, None, *admissions[:1]]:
        for store in stores:
            store.reset() if ids is None else store.admit(torch.tensor(ids, dtype=torch.int64))
        one, other = stores
        assert torch.equal(one.active.slot_of, other.active.slot_of)
        assert active_ids(one) == active_ids(other)
        assert backends[0].fetched == backends[1].fetched


@both_admitters
def test_only_new_ids_are_fetched(backend_type: type[RecordingBackend]) -> None:
    backend = backend_type()
    store = make_store(8, backend=backend)
    admit(store, 3, 4)
    backend.fetched.clear()
    admit(store, 4, 5, 3)
    assert backend.fetched == [5]


@both_admitters
def test_ids_may_stand_in_memory_with_gaps_and_in_any_integer_type(
    backend_type: type[RecordingBackend],
) -> None:
    store = make_store(8, backend=backend_type())
    store.admit(torch.tensor([[3, 4, 5, 6]], dtype=torch.int32)[:, ::2])
    assert active_ids(store) == [3, 5]


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


@both_admitters
def test_admitting_nothing_changes_nothing(backend_type: type[RecordingBackend]) -> None:
    store = make_store(3, backend=backend_type())
    admit(store, 3)
    assert admit(store) == [3]


def test_contains_says_which_ids_are_active() -> None:
    store = make_store(3, pinned=(7,))
    admit(store, 3)
    assert store.contains(torch.tensor([3, 4, 7])).tolist() == [True, False, True]


@both_admitters
def test_a_store_full_of_pinned_ids_admits_nothing(backend_type: type[RecordingBackend]) -> None:
    assert admit(make_store(2, pinned=(1, 2), backend=backend_type()), 5, 6) == [1, 2]


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
    assert int(store.active_size) == 0


def test_on_the_device_an_id_out_of_range_is_left_out() -> None:
    assert admit(make_store(3, backend=DeviceBackend()), 3, -1, VOCAB_SIZE, 4) == [3, 4]


@pytest.mark.parametrize("bad", [-1, VOCAB_SIZE])
def test_a_pinned_id_out_of_range_is_an_error_that_names_it(bad: int) -> None:
    with pytest.raises(SpecframeError, match=f"pins token id {bad}; allowed: 0 to 22"):
        make_store(3, pinned=(3, bad))


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
    assert int((store.active.slot_of >= 0).sum()) == int(store.active_size)
    assert int((store._admitter._last_position >= 0).sum()) == 0


@both_admitters
def test_dropped_ids_are_inactive_and_the_others_keep_their_rows(
    backend_type: type[RecordingBackend],
) -> None:
    backend = backend_type()
    store = make_store(6, pinned=(9,), backend=backend)
    store.admit(torch.tensor([3, 4, 5, 6, 7, 8], device=DEVICE))
    fetched = int(store.rows_fetched)
    store.drop(torch.tensor([5, 7, 9, 20], device=DEVICE))
    assert active_ids(store) == [9, 4, 6, 8]
    assert int(store.rows_fetched) == fetched, "what moves to another slot is not new"
    slots = store.active.slot_of[torch.tensor([4, 6, 8], device=DEVICE)].tolist()
    assert [backend.row_of_slot[slot] for slot in slots] == [4, 6, 8]
    store.admit(torch.tensor([5], device=DEVICE))
    assert int(store.rows_fetched) == fetched + 1
    store.reset()
    assert int(store.rows_fetched) == 0


def test_everything_may_be_dropped() -> None:
    store = make_store(6)
    store.admit(torch.tensor([3, 4]))
    store.drop(torch.tensor([3, 4]))
    assert int(store.active_size) == 0
