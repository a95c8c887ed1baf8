from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather
from specframe_vllm.active_head import ActiveHead
from specframe_vllm.active_sets import ActiveSets, SetPerRequest, SharedSet
from specframe_vllm.draft_rows import DraftRows

VOCAB, HIDDEN = 64, 8
WEIGHT = torch.randn(VOCAB, HIDDEN, generator=torch.Generator().manual_seed(0))
STATES = torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(1))


def rows_of(token_ids: Tensor | None = None) -> DraftRows:
    """Return an LM head with a row for every token, or for some."""
    row_map = RowMap(VOCAB) if token_ids is None else RowMap.of(token_ids, VOCAB)
    weight = WEIGHT if token_ids is None else WEIGHT[token_ids]
    head = OutputHead(weight, row_map=row_map)
    return DraftRows(head=head, ranks=1, rows_per_rank=len(weight), total=len(weight), token_ids=token_ids)


def store_over(rows: DraftRows, ids: list[int]) -> VocabularyStore:
    store = VocabularyStore(rows.head, TorchGather(), capacity=20, pinned_ids=torch.tensor([0]))
    store.admit(torch.tensor(ids))
    return store


def shared(rows: DraftRows, ids: list[int]) -> ActiveHead:
    return ActiveHead(rows, SharedSet(store_over(rows, ids)))


def best_among(ids: list[int]) -> list[int]:
    """Return the definition: the best of some tokens for each of the hidden states."""
    allowed = torch.full((VOCAB,), -torch.inf)
    allowed[ids] = 0.0
    return (STATES @ WEIGHT.T + allowed).argmax(dim=-1).tolist()


def test_the_best_active_token_is_drafted() -> None:
    ids = [5, 9, 33, 60, 12]
    assert shared(rows_of(), ids).get_top_tokens(STATES).tolist() == best_among([0, *ids])


def test_rows_of_a_draft_vocabulary_are_drafted_as_tokens() -> None:
    rows = rows_of(torch.arange(0, VOCAB, 2))
    ids = [6, 9, 34, 60, 11]
    assert shared(rows, ids).get_top_tokens(STATES).tolist() == best_among([0, 6, 34, 60])


def test_every_request_is_drafted_for_from_its_own_set() -> None:
    rows = rows_of()
    sets = SetPerRequest(lambda: store_over(rows, []), 2, 2**20)
    sets.begin("a").admit(torch.tensor([5, 9]))
    sets.begin("b").admit(torch.tensor([33, 60]))
    sets.draft_for(["b", "a"])
    found = ActiveHead(rows, sets).get_top_tokens(STATES[:2]).tolist()
    assert found == [best_among([0, 33, 60])[0], best_among([0, 5, 9])[1]]


def logits_of(rows: DraftRows, sets: ActiveSets) -> Tensor:
    return ActiveHead(rows, sets).compute_logits(STATES)


def test_logits_are_those_of_the_full_head_where_a_token_is_active() -> None:
    rows = rows_of()
    logits = logits_of(rows, SharedSet(store_over(rows, [5, 9])))
    assert torch.allclose(logits[:, [0, 5, 9]], (STATES @ WEIGHT.T)[:, [0, 5, 9]], atol=1e-5)


def test_logits_are_minus_infinity_where_a_token_is_not_active() -> None:
    rows = rows_of()
    logits = logits_of(rows, SharedSet(store_over(rows, [5, 9])))
    assert logits.shape == (5, VOCAB)
    assert int(logits.isneginf().sum()) == 5 * (VOCAB - 3)


def test_logits_over_a_draft_vocabulary_are_by_token() -> None:
    rows = rows_of(torch.arange(0, VOCAB, 2))
    logits = logits_of(rows, SharedSet(store_over(rows, [6, 9])))
    assert logits.isfinite().any(dim=0).nonzero().flatten().tolist() == [0, 6]


def test_a_token_that_left_is_drafted_no_more() -> None:
    rows = rows_of()
    store = store_over(rows, [5])
    store.admit(torch.arange(20, 39))
    assert 5 not in ActiveHead(rows, SharedSet(store)).get_top_tokens(STATES).tolist()
    assert logits_of(rows, SharedSet(store))[:, 5].isneginf().all()


class _Fixed(Screen):
    """Finds the same rows for every state, one of them none."""

    width = 4

    def bind(self, head: OutputHead, states: StateSource) -> None:
        pass

    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(torch.tensor([7, 12, -1, 40]).expand(len(hidden), -1))


def test_candidates_of_a_screen_are_drafted_beside_what_is_active() -> None:
    rows = rows_of()
    head = ActiveHead(rows, SharedSet(store_over(rows, [5, 12])), _Fixed())
    assert head.get_top_tokens(STATES).tolist() == best_among([0, 5, 7, 12, 40])


def test_logits_are_those_of_the_full_head_where_a_screen_looks() -> None:
    rows = rows_of()
    found = ActiveHead(rows, SharedSet(store_over(rows, [5, 12])), _Fixed()).compute_logits(STATES)
    there = [0, 5, 7, 12, 40]
    torch.testing.assert_close(found[:, there], STATES @ WEIGHT[there].T)
    assert int(found.isneginf().sum()) == len(STATES) * (VOCAB - len(there))


def test_candidates_of_a_draft_vocabulary_are_drafted_as_tokens() -> None:
    rows = rows_of(torch.arange(0, VOCAB, 1).flip(0))
    head = ActiveHead(rows, SharedSet(store_over(rows, [5])), _Fixed())
    expected = best_among([0, 5, *(VOCAB - 1 - row for row in (7, 12, 40))])
    assert head.get_top_tokens(STATES).tolist() == expected
