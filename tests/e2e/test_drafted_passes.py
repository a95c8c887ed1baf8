"""What a request tells of its target passes is what happened: the path, probabilities, sources, activity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import torch
from screens import RandomScreen
from tiny_engines import (
    PROMPT,
    autoregressive_engine,
    drafting_engine,
    eagle,
    endless_target,
    nanospec,
    repetitive_target,
)
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.drafted_pass import DraftedPass
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.tree import DraftTree
from specframe.engine import engine as engine_module
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.model.target import Target

NEW_TOKENS = 40


@pytest.fixture(scope="module")
def target() -> Target:
    return repetitive_target()


def engine_of(target: Target, drafter: str, head: Any = None, **settings: Any) -> Engine:
    options = {"drafter": {"checkpoint": str(head)}, "vocabulary": {"capacity": 64}} if head else {}
    config = {"dtype": "float32", "costs": "off", "options": options} | settings
    return build_engine(RunConfig(drafter=drafter, **config), target=target)


def passes_of(engine: Engine, **settings: Any) -> list[DraftedPass]:
    passes: list[DraftedPass] = []
    engine.generate(PROMPT, NEW_TOKENS, watch_passes=passes.append, **settings)
    return passes


def trees_of(engine: Engine, note: Callable[[DraftTree], None]) -> None:
    """Have every draft noted as it leaves the drafting."""
    drafting, drafts = engine.drafting, engine.drafting.draft

    def draft(*arguments: Any) -> DraftTree:
        tree = drafts(*arguments)
        note(tree)
        return tree

    drafting.draft = draft  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "settings",
    [
        {"drafter": "eagle"},
        {"drafter": "eagle", "costs": "auto"},
        {"drafter": "eagle", "verifier": "sampling", "sampling": SamplingParams(temperature=1.0)},
        {"drafter": "lookup"},
        {"drafter": "combine"},
        {"drafter": "lookup", "costs": "auto"},
    ],
    ids=str,
)
def test_the_accepted_path_and_the_targets_token_are_what_was_emitted(
    target: Target, tiny_head: Any, settings: dict[str, Any]
) -> None:
    head = tiny_head if settings["drafter"] == "eagle" else None
    engine = engine_of(target, head=head, **settings)
    passes = passes_of(engine)
    report = engine.report
    assert report is not None
    for one in passes:
        drafted = [one.nodes[place].token_id for place in one.path[1:]]
        assert [*drafted, one.next_token][: len(one.emitted_ids)] == list(one.emitted_ids)
        for above, place in zip(one.path, one.path[1:], strict=False):
            assert one.nodes[place].parent == above
    assert report.token_ids[1:] == [token for one in passes for token in one.emitted_ids]
    assert len(passes) == report.target_passes
    assert sum(one.rejection == "oov" for one in passes) == report.oov_rejections
    assert sum(one.rejection == "drafter_miss" for one in passes) == report.drafter_misses


def test_every_root_is_the_token_emitted_before(target: Target) -> None:
    engine = drafting_engine(target)
    passes = passes_of(engine)
    assert engine.report is not None
    emitted = [engine.report.token_ids[0], *(one.emitted_ids[-1] for one in passes)]
    assert [one.nodes[0].token_id for one in passes] == emitted[:-1]


def test_probabilities_are_the_drafters_own(target: Target) -> None:
    engine, trees = drafting_engine(target), list[DraftTree]()
    trees_of(engine, trees.append)
    for one, tree in zip(passes_of(engine), trees, strict=True):
        real = tree.parents >= 0
        real[0] = True
        likely = torch.tensor([node.probability for node in one.nodes])
        torch.testing.assert_close(likely, tree.log_probs[real].exp())
        assert [node.token_id for node in one.nodes] == tree.token_ids[real].tolist()


def test_a_token_is_active_if_it_was_when_the_pass_was_drafted() -> None:
    target = endless_target()
    engine, active = drafting_engine(target, strategy=nanospec(target, capacity=16)), list[Tensor]()
    everything, store = tuple(range(target.vocab_size)), engine.drafting.figures
    trees_of(engine, lambda _: active.append(store.covered(everything)))
    passes = passes_of(engine)
    for one, was_active in zip(passes, active, strict=True):
        assert one.nodes[0].active
        for node in one.nodes[1:]:
            assert node.active == bool(was_active[node.token_id])
        assert one.next_active == bool(was_active[one.next_token])
        assert one.active_size == int(was_active.sum())
    assert {one.next_active for one in passes} == {True, False}


def test_nodes_that_a_drafter_should_not_have_drafted_are_told_as_not_active(target: Target) -> None:
    engine = drafting_engine(target)
    draft = engine.drafting.draft

    def everywhere(*arguments: Any) -> DraftTree:
        tree = draft(*arguments)
        outside = [token for token in range(90) if not engine.drafting.figures.covered((token,)).any()]
        return attrs.evolve(tree, token_ids=torch.cat([tree.token_ids[:-1], torch.tensor(outside[:1])]))

    engine.drafting.draft = everywhere  # type: ignore[method-assign]
    for one in passes_of(engine)[:3]:
        assert [node.active for node in one.nodes] == [True] * (len(one.nodes) - 1) + [False]


def test_with_a_screen_a_token_is_active_if_its_level_screened_it(target: Target) -> None:
    strategy = nanospec(target, capacity=16)
    strategy.screen = RandomScreen(6)
    engine, drafted = drafting_engine(target, strategy=strategy), list[tuple[Tensor, list[set[int]]]]()
    store, screened = engine.drafting.figures.filled._store, engine.drafting.figures.filled.head
    trees_of(
        engine,
        lambda _: drafted.append(
            (store.active.slot_of >= 0, [set(level.flatten().tolist()) for level in screened.levels])
        ),
    )
    passes = passes_of(engine)
    for one, (active, levels) in zip(passes, drafted, strict=True):
        for node in one.nodes[1:]:
            assert node.active == (bool(active[node.token_id]) or node.token_id in levels[node.depth - 1])
        level = len(one.path) - 1
        beyond = level >= len(levels)
        assert one.next_active == (beyond or bool(active[one.next_token]) or one.next_token in levels[level])
    assert {one.next_active for one in passes} == {True, False}


def test_nodes_of_a_source_say_so_and_the_heads_do_not(target: Target, tiny_head: Any) -> None:
    passes = passes_of(engine_of(target, "eagle", tiny_head))
    found = {node.source for one in passes for node in one.nodes[1:]}
    assert found == {None, "lookup"}
    assert all(one.nodes[0].source is None for one in passes)


def test_several_sources_are_told_apart(target: Target) -> None:
    passes = passes_of(engine_of(target, "combine"))
    found = {node.source for one in passes for node in one.nodes[1:]}
    assert found == {"suffix", "recycled"}


def test_a_tree_that_costs_cut_keeps_the_sources_of_its_nodes(target: Target) -> None:
    engine, trees = engine_of(target, "combine", costs="auto"), list[DraftTree]()
    trees_of(engine, trees.append)
    cut = 0
    for one, tree in zip(passes_of(engine), trees, strict=True):
        assert tuple(node.source for node in one.nodes) == (tree.sources or (None,))
        cut += tree.sources is not None
    assert cut


def test_without_a_draft_a_pass_is_its_root(target: Target) -> None:
    passes = passes_of(autoregressive_engine(target))
    assert len(passes) == NEW_TOKENS - 1
    assert {(len(one.nodes), one.path, one.rejection) for one in passes} == {(1, (0,), None)}


def test_watching_changes_nothing(target: Target, tiny_head: Any) -> None:
    plain = engine_of(target, "eagle", tiny_head)
    watched = engine_of(target, "eagle", tiny_head)
    plain.generate(PROMPT, NEW_TOKENS)
    passes_of(watched)
    assert plain.steps == watched.steps


def test_nothing_is_recorded_where_nobody_watches(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def recorded(*arguments: Any) -> DraftedPass:
        raise AssertionError("a pass was recorded")

    monkeypatch.setattr(engine_module, "drafted_pass", recorded)
    drafting_engine(target).generate(PROMPT, NEW_TOKENS)


def test_a_pass_that_the_length_cuts_has_the_whole_path_and_what_was_emitted(target: Target) -> None:
    engine, limit = engine_of(target, "lookup"), 1
    for one in passes_of(engine):
        if len(one.path) > 2:
            break
        limit += len(one.emitted_ids)
    cut = list[DraftedPass]()
    engine.generate(PROMPT, limit + 1, watch_passes=cut.append)
    assert (cut[-1].path, cut[-1].emitted_ids) == (one.path, one.emitted_ids[:1])


def test_passes_after_a_fault_are_told_as_passes_without_a_draft(target: Target) -> None:
    drafter = eagle(target)
    engine = drafting_engine(target, drafter=drafter, fallback=True)
    draft, drafts = drafter.draft, iter(range(3))

    def fails(*arguments: Any) -> DraftTree:
        if next(drafts, None) is None:
            raise ValueError("broken")
        return draft(*arguments)

    drafter.draft = fails  # type: ignore[method-assign]
    passes = passes_of(engine)
    assert [len(one.nodes) > 1 for one in passes[:4]] == [True, True, True, False]
    assert {(one.active_size, one.rejection) for one in passes[3:]} == {(0, None)}
    assert engine.report is not None
    assert engine.report.token_ids[1:] == [token for one in passes for token in one.emitted_ids]
