from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.lm_head import OutputHead
from specframe.errors import UsageError
from specframe.vocabulary.memory import measure
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather
from specframe_vllm.active_sets import SetPerRequest, SharedSet

HEAD = OutputHead(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))


def make_store(capacity: int = 8) -> VocabularyStore:
    return VocabularyStore(HEAD, TorchGather(), capacity=capacity, pinned_ids=torch.tensor([0, 1]))


def sets_for(requests: int) -> SetPerRequest:
    return SetPerRequest(make_store, requests, 2**20)


def active(store: VocabularyStore) -> set[int]:
    return set(store.active_ids(int(store.active_size)).tolist())


def test_requests_share_one_active_set() -> None:
    sets = SharedSet(make_store())
    sets.begin("a").admit(torch.tensor([5]))
    assert active(sets.begin("b")) == {0, 1, 5}


def test_a_set_for_a_request_holds_nothing_of_another() -> None:
    sets = sets_for(2)
    sets.begin("a").admit(torch.tensor([5]))
    sets.begin("b").admit(torch.tensor([6]))
    assert (active(sets.of("a")), active(sets.of("b"))) == ({0, 1, 5}, {0, 1, 6})


def test_a_set_that_is_given_on_starts_with_the_pinned_tokens() -> None:
    sets = sets_for(1)
    sets.begin("a").admit(torch.tensor([5, 6, 7]))
    sets.end("a")
    assert active(sets.begin("b")) == {0, 1}


def test_a_request_that_starts_again_starts_with_the_pinned_tokens() -> None:
    sets = sets_for(1)
    sets.begin("a").admit(torch.tensor([5]))
    assert active(sets.begin("a")) == {0, 1}


def test_ending_a_request_twice_does_no_harm() -> None:
    sets = sets_for(1)
    sets.begin("a")
    sets.end("a")
    sets.end("a")
    assert active(sets.begin("b")) == {0, 1}


def test_many_requests_one_after_the_other_need_no_more_sets() -> None:
    sets = sets_for(2)
    for number in range(100):
        sets.begin(str(number))
        sets.end(str(number))
    assert len({id(store) for store in sets.stores}) == 3


def test_every_row_is_drafted_from_the_set_of_its_request() -> None:
    sets = sets_for(2)
    a, b = sets.begin("a"), sets.begin("b")
    sets.draft_for(["b", "a"])
    assert sets.groups(2) == [(slice(0, 1), b), (slice(1, 2), a)]


def test_rows_of_methods_that_draft_all_tokens_at_once_belong_together() -> None:
    sets = sets_for(2)
    a, b = sets.begin("a"), sets.begin("b")
    sets.draft_for(["a", "b"])
    assert sets.groups(6) == [(slice(0, 3), a), (slice(3, 6), b)]


def test_rows_of_no_request_are_drafted_from_the_pinned_tokens() -> None:
    sets = sets_for(2)
    [(rows, store)] = sets.groups(5)
    assert (rows, active(store)) == (slice(0, 5), {0, 1})


class BufferedGather(TorchGather):
    """Makes eight bytes of buffers for every row of a batch size that comes up."""

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        super().bind(head, active)
        self._buffers: dict[int, Tensor] = {}

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        self._buffers.setdefault(len(hidden), torch.zeros(len(hidden), dtype=torch.int64))
        return super().topk(hidden, k)

    def held(self) -> tuple[Tensor, ...]:
        return (*super().held(), *self._buffers.values())


def buffered_store() -> VocabularyStore:
    return VocabularyStore(HEAD, BufferedGather(), capacity=8, pinned_ids=torch.tensor([0, 1]))


def test_buffers_are_known_before_their_batch_sizes_come_up() -> None:
    sets, before = SharedSet(buffered_store()), measure([buffered_store()]).packed_bytes
    known = sets.buffer_bytes(5)
    for rows in range(1, 6):
        sets.stores[0].head.topk(torch.zeros(rows, 8), 1)
    assert known == sets.memory().packed_bytes - before == 8 * (1 + 2 + 3 + 4 + 5)


def test_sets_of_requests_have_buffers_of_one_row() -> None:
    assert SetPerRequest(buffered_store, 3, 2**20).buffer_bytes(3) == 8 * (1 + 2 + 3) + 3 * 8


def test_more_memory_than_is_allowed_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"an active set for each of 4 requests takes [1-9].* allowed: [1-9]"
    ):
        SetPerRequest(make_store, 4, 1000)


def test_a_shared_set_that_takes_too_much_is_refused() -> None:
    with pytest.raises(UsageError, match=r"an active set of 8 slots takes .* lower capacity"):
        SharedSet(make_store(), 100)
