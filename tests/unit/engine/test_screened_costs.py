"""The costs that a run with a screen goes by: those of its setup, with the head calls of the screen."""

from __future__ import annotations

import torch
from paper_machines import paper_costs
from screens import NoStates, RandomScreen
from tiny_engines import endless_target

from specframe.engine.known_costs import KnownCosts
from specframe.vocabulary.screened import ScreenedVocabulary
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather


def screened() -> ScreenedVocabulary:
    target = endless_target()
    nothing = torch.empty(0, dtype=torch.int64)
    store = VocabularyStore(target.output_head, TorchGather(), capacity=0, pinned_ids=nothing)
    return ScreenedVocabulary(store, RandomScreen(9), NoStates())


def test_the_head_costs_what_its_calls_take_here() -> None:
    costs = paper_costs()
    found = KnownCosts(costs).screened(screened(), 3).model
    assert found.pass_s == costs.pass_s
    assert found.width == 3
    assert found.head_s != costs.head_s
    assert 0 < found.head_s(12) < 1


def test_what_was_measured_for_a_screen_is_not_kept_for_other_strategies() -> None:
    kept: list[object] = []
    found = KnownCosts(paper_costs(), kept.append).screened(screened(), 3)
    assert found.keep is not None
    found.keep(found.model)
    assert kept == []


def test_pinned_costs_stay_pinned() -> None:
    assert KnownCosts(paper_costs()).screened(screened(), 3).keep is None


def test_the_calls_that_were_measured_are_no_levels_of_a_draft() -> None:
    vocabulary = screened()
    KnownCosts(paper_costs()).screened(vocabulary, 3)
    assert vocabulary.head.levels == []
