"""What a drafter sees of a screen and an active set, and what counts as covered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from screens import NoStates, RandomScreen
from torch import Tensor

from specframe.contracts.faults import ComponentError
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.testing import ReferenceGather
from specframe.vocabulary.screened import ScreenedVocabulary
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather

VOCAB_SIZE = 30


class Says(Screen):
    """Finds what a test says, one answer after the other."""

    def __init__(self, *answers: list[list[int]]) -> None:
        self.width, self._answers = len(answers[0][0]), list(answers)

    def bind(self, head: OutputHead, states: StateSource) -> None:
        pass

    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(torch.tensor(self._answers.pop(0)))


def vocabulary_of(
    screen: Screen, *active: int, capacity: int | None = None, row_map: RowMap | None = None
) -> ScreenedVocabulary:
    torch.manual_seed(0)
    row_map = row_map or RowMap(VOCAB_SIZE)
    rows = VOCAB_SIZE if row_map.token_ids is None else len(row_map.token_ids)
    head = OutputHead(torch.randn(rows, 8), torch.randn(rows), row_map=row_map)
    nothing = torch.empty(0, dtype=torch.int64)
    slots = len(active) if capacity is None else capacity
    vocabulary = ScreenedVocabulary(
        VocabularyStore(head, TorchGather(), capacity=slots, pinned_ids=nothing), screen, NoStates()
    )
    vocabulary.reset()
    vocabulary.admit(torch.tensor(active, dtype=torch.int64))
    return vocabulary


def asked(vocabulary: ScreenedVocabulary, *sizes: int) -> None:
    """Draft levels of so many states."""
    vocabulary.begin_draft()
    for size in sizes:
        vocabulary.head.topk(torch.randn(size, 8), 1)


def test_an_id_is_covered_by_the_level_that_it_would_have_been_drafted_at() -> None:
    vocabulary = vocabulary_of(Says([[3, 4]], [[5, 6], [7, 3]]), 9, capacity=2)
    asked(vocabulary, 1, 2)
    assert vocabulary.covered((3, 7)).tolist() == [True, True]
    assert vocabulary.covered((5, 4)).tolist() == [False, False]
    assert vocabulary.covered((9, 9)).tolist() == [True, True], "active at every level"


def test_what_no_level_was_drafted_for_counts_as_covered() -> None:
    vocabulary = vocabulary_of(Says([[3, 4]]))
    asked(vocabulary, 1)
    assert vocabulary.covered((8, 8, 8)).tolist() == [False, True, True]


def test_a_draft_begins_without_the_levels_of_the_one_before() -> None:
    vocabulary = vocabulary_of(Says([[3, 4]], [[5, 6]]))
    asked(vocabulary, 1)
    asked(vocabulary, 1)
    assert vocabulary.covered((3,)).tolist() == [False]


def test_a_candidate_that_is_none_covers_no_id_without_a_row() -> None:
    tokens = torch.tensor([2, 4, 8])
    vocabulary = vocabulary_of(Says([[0, -1]]), row_map=RowMap.of(tokens, VOCAB_SIZE))
    asked(vocabulary, 1)
    assert vocabulary.covered((2,)).tolist() == [True]
    assert vocabulary.covered((5,)).tolist() == [False]


def test_the_active_size_is_that_of_both() -> None:
    assert int(vocabulary_of(RandomScreen(5), 1, 2, capacity=9).active_size) == 7
    assert int(vocabulary_of(RandomScreen(5)).active_size) == 5


@pytest.mark.parametrize("active", [(), (2, 9, 11)])
def test_logits_hold_for_each_state_what_it_may_draft_and_nothing_else(active: tuple[int, ...]) -> None:
    screen = RandomScreen(6)
    vocabulary = vocabulary_of(screen, *active)
    hidden = torch.randn(4, 8)
    logits = vocabulary.head.logits(hidden)
    ids = vocabulary.active_ids(logits.shape[1])
    assert len(set(ids.tolist())) == len(ids)
    whole = vocabulary.output_head.logits(hidden)
    for state, rows in enumerate(screen.screen(hidden).rows.tolist()):
        allowed = {row for row in rows if row >= 0} | set(active)
        there = logits[state].isfinite()
        assert set(ids[there].tolist()) == allowed
        torch.testing.assert_close(logits[state][there], whole[state, ids[there]])


def test_logits_and_topk_are_over_the_same_candidates() -> None:
    vocabulary = vocabulary_of(RandomScreen(6), 2, 9)
    hidden = torch.randn(4, 8)
    logits = vocabulary.head.logits(hidden)
    best = logits.log_softmax(1).max(1)
    log_probs, tokens = vocabulary.head.topk(hidden, 1)
    assert vocabulary.active_ids(logits.shape[1])[best.indices].tolist() == tokens[:, 0].tolist()
    torch.testing.assert_close(best.values, log_probs[:, 0])


def test_tokens_of_a_draft_vocabulary_are_the_targets() -> None:
    tokens = torch.tensor([2, 4, 8, 16, 25])
    vocabulary = vocabulary_of(Says([[0, 4]], [[0, 4]]), row_map=RowMap.of(tokens, VOCAB_SIZE))
    vocabulary.begin_draft()
    _, found = vocabulary.head.topk(torch.randn(1, 8), 2)
    assert sorted(found[0].tolist()) == [2, 25]
    logits = vocabulary.head.logits(torch.randn(1, 8))
    assert vocabulary.active_ids(logits.shape[1]).tolist() == [2, 25]


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (None, "a NoneType; allowed: Candidates"),
        (torch.zeros(1, 2), "a Tensor; allowed: Candidates"),
        (Candidates(torch.zeros(1, 3, dtype=torch.int64)), r"\[1, 3\] torch.int64; allowed: rows \[1, 2\]"),
        (Candidates(torch.zeros(1, 2)), r"\[1, 2\] torch.float32; allowed: rows \[1, 2\]"),
    ],
)
def test_what_is_no_candidates_is_the_strategys_fault(found: Any, what: str) -> None:
    screen = Says([[1, 2]])
    screen.screen = lambda hidden: found  # type: ignore[method-assign]  # breaks it on purpose
    with pytest.raises(ComponentError, match=rf"^strategy 'Says' screens {what}"):
        vocabulary_of(screen).head.topk(torch.randn(1, 8), 1)


@pytest.mark.parametrize("method", ["topk", "logits"])
@pytest.mark.parametrize("active", [(), (2, 9)])
def test_a_row_beyond_the_head_is_the_strategys_fault(active: tuple[int, ...], method: str) -> None:
    head = vocabulary_of(Says([[1, VOCAB_SIZE]]), *active).head
    with pytest.raises(
        ComponentError, match=r"^strategy 'Says' screens row 30; allowed: -1 for none, 0 to 29$"
    ):
        head.topk(torch.randn(1, 8), 1) if method == "topk" else head.logits(torch.randn(1, 8))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"log_total": torch.zeros(1, 1)}, r"log_total \[1, 1\] torch.float32; allowed: \[1\]"),
        ({"log_total": 3.0}, r"log_total float; allowed: \[1\]"),
        ({"logits": torch.zeros(1, 3)}, r"logits \[1, 3\] torch.float32; allowed: \[1, 2\]"),
        ({"logits": torch.zeros(1, 2).half()}, r"logits \[1, 2\] torch.float16; allowed: \[1, 2\]"),
    ],
)
def test_what_comes_with_the_rows_has_their_shape(given: dict[str, Any], what: str) -> None:
    screen = Says([[1, 2]])
    found = Candidates(torch.tensor([[1, 2]]), **given)
    screen.screen = lambda hidden: found  # type: ignore[method-assign]  # breaks it on purpose
    with pytest.raises(ComponentError, match=rf"^strategy 'Says' screens {what} torch.float32, or None"):
        vocabulary_of(screen).head.topk(torch.randn(1, 8), 1)


def test_an_exception_while_binding_is_the_strategys_fault() -> None:
    class Fails(RandomScreen):
        def bind(self, head: OutputHead, states: StateSource) -> None:
            raise ValueError("no such rank")

    with pytest.raises(ComponentError, match=r"raised in bind\(\) of its screen: ValueError: no such rank"):
        vocabulary_of(Fails(3))


def test_plain_operations_score_candidates_as_the_definition_does() -> None:
    vocabulary = vocabulary_of(RandomScreen(6), 2, 9, capacity=5)
    head, hidden = vocabulary.output_head, torch.randn(3, 8)
    reference = ReferenceGather()
    store = VocabularyStore(head, reference, capacity=5, pinned_ids=torch.empty(0, dtype=torch.int64))
    store.admit(torch.tensor([2, 9]))
    found = vocabulary.screen.screen(hidden)
    expected = reference.candidate_topk(hidden, 4, found)
    log_probs, rows = vocabulary.head.topk(hidden, 4)
    assert rows.tolist() == expected[1].tolist()
    torch.testing.assert_close(log_probs, expected[0])


def test_a_later_level_adds_columns_behind_those_of_the_levels_before() -> None:
    vocabulary = vocabulary_of(Says([[8, 3]], [[5, 8], [-1, 4]], [[20, 1]]), 9, capacity=2)
    vocabulary.begin_draft()
    widths, ids = [], list[list[int]]()
    for size in (1, 2):
        logits = vocabulary.head.logits(torch.randn(size, 8))
        widths.append(logits.shape[1])
        ids.append(vocabulary.active_ids(logits.shape[1]).tolist())
    assert ids == [[9, 3, 8], [9, 3, 8, 4, 5]]
    assert logits.isfinite().tolist() == [[True, False, True, False, True], [True, False, False, True, False]]
    vocabulary.begin_draft()
    logits = vocabulary.head.logits(torch.randn(1, 8))
    assert vocabulary.active_ids(logits.shape[1]).tolist() == [9, 1, 20]
