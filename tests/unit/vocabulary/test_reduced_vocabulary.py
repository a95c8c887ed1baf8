"""A drafter's LM head over fewer tokens than the target has: the store and the drafter see token ids."""

from __future__ import annotations

import pytest
import torch

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.errors import SpecframeError
from specframe.vocabulary.draft_head import DraftHead
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather

TOKENS = torch.tensor([3, 5, 8, 13, 21, 34])
VOCAB_SIZE = 40


def reduced_head() -> OutputHead:
    torch.manual_seed(0)
    return OutputHead(torch.randn(len(TOKENS), 4), row_map=RowMap.of(TOKENS, VOCAB_SIZE))


def store_of(head: OutputHead, *, capacity: int = 4, pinned: tuple[int, ...] = ()) -> VocabularyStore:
    store = VocabularyStore(head, TorchGather(), capacity=capacity, pinned_ids=torch.tensor(pinned).long())
    store.reset()
    return store


def test_ids_without_a_row_are_left_out_and_counted_once() -> None:
    store = store_of(reduced_head())
    store.admit(torch.tensor([3, 4, 21, 4, 39]))
    assert int(store.active_size) == 2
    assert store.contains(torch.tensor([3, 4, 21, 39, 8])).tolist() == [True, False, True, False, False]
    assert store.unknown_ids == 2


def test_a_new_request_has_asked_for_nothing() -> None:
    store = store_of(reduced_head())
    store.admit(torch.tensor([4]))
    store.reset()
    assert store.unknown_ids == 0


def test_ids_of_which_none_has_a_row_change_nothing() -> None:
    store = store_of(reduced_head())
    store.admit(torch.tensor([0, 1, 2]))
    assert int(store.active_size) == 0


def test_pinned_ids_without_a_row_take_no_slot() -> None:
    assert store_of(reduced_head(), pinned=(1, 5)).active_size == 1


def test_a_capacity_beyond_the_rows_means_all_rows() -> None:
    assert store_of(reduced_head(), capacity=30).active.capacity == len(TOKENS)


def test_an_id_beyond_the_vocabulary_is_still_an_error() -> None:
    with pytest.raises(SpecframeError, match="token id 40; allowed: 0 to 39"):
        store_of(reduced_head()).admit(torch.tensor([3, VOCAB_SIZE]))


def test_the_drafter_gets_token_ids_with_the_log_probabilities_of_their_rows() -> None:
    head, backend, hidden = reduced_head(), TorchGather(), torch.randn(2, 4)
    store = VocabularyStore(head, backend, capacity=4, pinned_ids=torch.empty(0, dtype=torch.int64))
    store.admit(torch.tensor([34, 5, 13]))
    log_probs, ids = DraftHead(backend, head.row_map).topk(hidden, 4)
    rows = torch.tensor([5, 1, 3])
    expected = (hidden @ head.weight[rows].T).log_softmax(dim=-1)
    for node in range(2):
        best = expected[node].sort(descending=True)
        torch.testing.assert_close(log_probs[node, :3], best.values)
        assert ids[node].tolist() == [*TOKENS[rows[best.indices]].tolist(), -1]


def test_without_an_active_set_the_ids_are_token_ids_too() -> None:
    head, backend = reduced_head(), TorchGather()
    backend.bind(head, None)
    _, ids = DraftHead(backend, head.row_map).topk(torch.randn(1, 4), 6)
    assert sorted(ids[0].tolist()) == TOKENS.tolist()
