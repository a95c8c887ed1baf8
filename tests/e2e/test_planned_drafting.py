"""Whatever costs decide, the output is the target's, and a pause changes nothing of later drafts."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paper_machines import FLAT, IN_PROPORTION, paper_costs
from scripted import ScriptedDrafter
from tiny_engines import PROMPT, drafting_engine, eagle, endless_target, nanospec, repetitive_target
from tiny_models import MODEL_TYPES, reference_greedy
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.report import DraftKind, PassesPerDraft
from specframe.contracts.tree import DraftTree, Verdict
from specframe.costs.model import CostModel
from specframe.engine.assembly import build_engine
from specframe.engine.drafting import planned
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.drafting.planned import PlannedDrafting
from specframe.engine.drafting.protocol import Drafting
from specframe.engine.drafting.step_budget import StepBudget
from specframe.engine.engine import Engine
from specframe.model.target import Prefill, Target
from specframe.ops import contention
from specframe.vocabulary.store import VocabularyStore
from specframe.vocabulary.whole import WholeVocabulary
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions
from specframe_plugins.vocabularies.full import FullVocabulary
from specframe_plugins.vocabularies.nanospec import NanospecVocabulary

DRAFTERS = ("eagle", "eagle and lookup", "draft-model", "draft-model and lookup", "lookup")
TOKENS = 48

Decision = Literal["active", "full", "none"]


class Erratic(StepBudget):
    """Decides by chance, the same for the same source."""

    source = random.Random(0)

    def wants_full(self, active: int) -> bool:
        return self.source.random() < 0.3

    def wants_head(self, path: Any = ()) -> bool:
        self._step.drafts = self.source.random() < 0.6
        return self._step.drafts

    def beams(self, log_probs: Any) -> int:
        chosen = self.source.randint(0, len(log_probs))
        if chosen:
            self._step.widths.append(chosen)
        return chosen


def forced(decisions: list[Decision]) -> Callable[..., StepBudget]:
    """Return what makes budgets that decide what a test says, again and again."""

    class Forced(StepBudget):
        at = -1

        def wants_full(self, active: int) -> bool:
            self.at += 1
            return decisions[self.at % len(decisions)] == "full"

        def wants_head(self, path: Any = ()) -> bool:
            self._step.drafts = decisions[max(self.at, 0) % len(decisions)] != "none"
            return self._step.drafts

    return Forced


@pytest.fixture
def decide(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """``decide(Budget)`` lets a class, or what ``forced`` returns, decide over every request."""
    return lambda budget: monkeypatch.setattr(planned, "StepBudget", budget)


def planned_drafting(
    target: Target, costs: CostModel | None = None, *, drafter: Any = None, strategy: Any = None
) -> PlannedDrafting:
    strategy = strategy or nanospec(target, capacity=60)
    drafter = drafter or eagle(target)
    store = VocabularyStore(target.output_head, TorchGather(), capacity=60, pinned_ids=strategy.pinned_ids)
    everything = WholeVocabulary(target.output_head, TorchGather())
    return PlannedDrafting(ActiveDrafting(drafter, strategy, store), everything, costs or paper_costs(FLAT))


def planned_engine(target: Target, costs: CostModel | None = None, **parts: Any) -> Engine:
    engine = drafting_engine(target, drafter=parts.get("drafter"))
    engine.drafting = planned_drafting(target, costs, **parts)
    return engine


def engine_with(drafter: str, target: Target, folder: Path, **settings: Any) -> Engine:
    """Return an engine as a user builds it."""
    name, _, lookup = drafter.partition(" and ")
    options: dict[str, Any] = {"eagle": {}, "draft-model": {"layers": 2}, "lookup": {}}[name]
    if name == "eagle":
        torch.manual_seed(0)
        save_head(EagleHead(EagleConfig.for_target(target.config)), folder / "head")
        options = {"checkpoint": str(folder / "head")}
    if name != "lookup":
        options |= {"lookup": 32 if lookup else 0}
    vocabulary = {"capacity": 60, "prompt_window": 4}
    config = RunConfig(
        dtype="float32",
        drafter=name,
        options={"drafter": options, "vocabulary": vocabulary},
        **settings,
    )
    return build_engine(config, target=target)


@pytest.fixture(scope="module")
def llama() -> Target:
    return endless_target()


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_any_decision_at_any_step_leaves_the_output_as_it_is(
    model_type: str, drafter: str, tmp_path: Path, decide: Callable[[Any], None]
) -> None:
    decide(Erratic)
    target = repetitive_target(model_type)
    engine = engine_with(drafter, target, tmp_path)
    expected = reference_greedy(target.model, torch.tensor(PROMPT), 60)
    for seed in range(2):
        Erratic.source = random.Random(seed)
        assert engine.generate(PROMPT, 60).token_ids == expected


MILLISECONDS = st.floats(0, 100)
COSTS = st.builds(
    paper_costs,
    st.tuples(st.floats(1, 100), st.dictionaries(st.integers(2, 32), st.floats(1, 500), max_size=4)).map(
        lambda drawn: {1: drawn[0], **drawn[1]}
    ),
    draft=MILLISECONDS,
    level=st.dictionaries(st.integers(1, 4), MILLISECONDS, min_size=1, max_size=2),
    head=st.dictionaries(st.sampled_from([512, 2048, 8192]), MILLISECONDS, min_size=1),
    whole=MILLISECONDS,
    skip=MILLISECONDS,
    context=st.floats(0, 1),
)


@pytest.fixture(scope="module", params=DRAFTERS)
def any_drafter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    target = repetitive_target()
    return engine_with(request.param, target, tmp_path_factory.mktemp("planned"))


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(costs=COSTS, prompt=st.lists(st.integers(3, 100), min_size=1, max_size=20))
def test_any_costs_leave_the_output_as_it_is(
    any_drafter: Engine, costs: CostModel, prompt: list[int]
) -> None:
    assert isinstance(any_drafter.drafting, PlannedDrafting)
    any_drafter.drafting.costs = costs
    expected = reference_greedy(any_drafter.target.model, torch.tensor(prompt), 30)
    assert any_drafter.generate(prompt, 30).token_ids == expected


@pytest.mark.parametrize("pause", [1, 63, 64, 65, 140])
def test_a_long_pause_leaves_the_output_as_it_is(
    llama: Target, pause: int, decide: Callable[[Any], None]
) -> None:
    decide(forced([*["active"] * 3, *["none"] * pause, *["active"] * 20]))
    report = planned_engine(llama).generate(PROMPT, pause + 30)
    assert report.token_ids == reference_greedy(llama.model, torch.tensor(PROMPT), pause + 30)


def test_the_report_counts_the_passes_by_their_draft(llama: Target, decide: Callable[[Any], None]) -> None:
    decide(forced(["active", "full", "none"]))
    engine = planned_engine(llama)
    report = engine.generate(PROMPT, 40)
    passes = report.target_passes
    assert report.drafts == PassesPerDraft(
        active=(passes + 2) // 3, full=(passes + 1) // 3, copied=0, none=passes // 3
    )
    full = [step for step in engine.steps if step.draft == "full"]
    assert {step.active_size for step in full} == {llama.vocab_size}
    assert "oov" not in {step.rejection for step in full}
    assert {step.tree_nodes for step in engine.steps if step.draft == "none"} == {1}


def test_a_pass_without_any_draft_is_not_called_one_from_the_context(llama: Target, tmp_path: Path) -> None:
    engine = engine_with("lookup", llama, tmp_path)
    engine.generate(PROMPT, 40)
    for step in engine.steps:
        assert (step.draft == "copied") <= (step.tree_nodes > 1)


def test_a_request_goes_by_the_costs_that_its_report_names(llama: Target) -> None:
    costs = paper_costs(IN_PROPORTION)
    report = planned_engine(llama, costs).generate(PROMPT, 12)
    assert report.costs == costs.name
    assert report.drafts == PassesPerDraft(active=0, full=0, copied=0, none=report.target_passes)


def test_drafts_that_had_to_catch_up_are_told_from_others(
    llama: Target, decide: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(forced(["active", "none", "none", "active"]))
    drafting = planned_drafting(llama)
    drafting._keep = lambda costs: None
    monkeypatch.setattr(contention, "QUIET", math.inf)
    engine = planned_engine(llama)
    engine.drafting = drafting
    engine.generate(PROMPT, 9)
    seen = [(step.head_drafted, step.caught_up) for step in drafting._seen]
    assert seen[:5] == [(True, False), (False, False), (False, False), (True, True), (True, False)]


def test_a_turn_that_ends_without_drafts_can_be_gone_on_from(
    llama: Target, decide: Callable[[Any], None]
) -> None:
    decide(forced(["active", "none", "none"]))
    engine = planned_engine(llama)
    said, key = [*PROMPT], object()
    for turn in ([12, 13, 14], [77, 5, 5]):
        said += turn
        report = engine.generate(said, 9, turn_of=key)
        assert report.token_ids == reference_greedy(llama.model, torch.tensor(said), 9)
        said += report.token_ids
    assert report.kept_tokens >= len(PROMPT) + 3 + 9 - 2


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("seed", range(2))
def test_a_conversation_can_be_gone_on_from_after_any_decision(
    drafter: str, seed: int, tmp_path: Path, decide: Callable[[Any], None]
) -> None:
    decide(Erratic)
    Erratic.source = source = random.Random(seed)
    target = repetitive_target()
    engine, said, key = engine_with(drafter, target, tmp_path), [*PROMPT], object()
    for turn in range(4):
        said += [source.randint(3, 100) for _ in range(3)]
        report = engine.generate(said, 11, turn_of=key)
        assert report.token_ids == reference_greedy(target.model, torch.tensor(said), 11)
        assert (report.kept_tokens > 0) == (turn > 0)
        said += report.token_ids


def drafts(drafting: Drafting, target: Target, passes: int) -> list[DraftTree]:
    """Return the trees of a request whose drafts are all rejected, over made-up features."""
    clock, source = PhaseClock(), torch.Generator().manual_seed(5)

    def features(n: int) -> Tensor:
        return torch.randn(n, target.hidden_size, generator=source)

    clock.start()
    ids = torch.randint(target.vocab_size, (passes + 1,), generator=source).tolist()
    prompt_features = features(len(PROMPT))
    drafting.start(torch.tensor(PROMPT), Prefill(torch.empty(1, 101), prompt_features, None), source, clock)
    committed, trees = prompt_features[-1:], []
    for root, following in pairwise(ids):
        trees.append(drafting.draft(root, committed, clock))
        drafting.learn(Verdict((0,), (), following, False), trees[-1], None, clock)
        committed = features(1)
    return trees


class Generous(StepBudget):
    """Takes all that is drafted."""

    def beams(self, log_probs: Any) -> int:
        return len(log_probs)

    def keep(self, tree: DraftTree) -> DraftTree:
        return tree


@torch.inference_mode()
@pytest.mark.parametrize("with_lookup", [False, True])
@pytest.mark.parametrize("pause", [1, 2, 7, 63, 64, 65, 70, 150])
def test_after_a_pause_the_same_tokens_are_drafted_as_without_one(
    llama: Target, pause: int, with_lookup: bool, decide: Callable[[Any], None]
) -> None:
    class Pausing(Generous):
        at = -1

        def begin(self, context: int, rows: int | None) -> None:
            super().begin(context, rows)
            self.at += 1

        def wants_head(self, path: Any = ()) -> bool:
            self._step.drafts = not 2 <= self.at < 2 + pause
            return self._step.drafts

    def drafting() -> ActiveDrafting:
        drafter = SourceDrafter([LookupSource(8)], 8, eagle(llama)) if with_lookup else eagle(llama)
        return ActiveDrafting(drafter, FullVocabulary(), WholeVocabulary(llama.output_head, TorchGather()))

    decide(Pausing)
    paused = drafts(PlannedDrafting(drafting(), None, paper_costs(FLAT)), llama, pause + 5)
    decide(type("Steady", (Pausing,), {"wants_head": Generous.wants_head}))
    steady = drafting()
    if with_lookup:
        everything = type("Everything", (Pausing,), {"wants_head": lambda self, path=(): True})
        steady.drafter.draft_within(everything(paper_costs(FLAT), len(PROMPT), 8))
    expected = drafts(steady, llama, pause + 5)
    for tree, other in zip(paused[-3:], expected[-3:], strict=True):
        assert torch.equal(tree.token_ids, other.token_ids)
        assert torch.equal(tree.parents, other.parents)
        torch.testing.assert_close(tree.log_probs, other.log_probs)


class Noting(NanospecVocabulary):
    """Keeps what it was shown."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[tuple[Verdict, DraftTree, Tensor | None]] = []

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        self.seen.append((verdict, tree, target_topk_ids))
        return super().observe(verdict, tree, target_topk_ids)


def test_the_strategy_learns_of_a_pause_as_of_one_accepted_chain(
    llama: Target, decide: Callable[[Any], None]
) -> None:
    decide(forced(["active", *["none"] * 5, "active"]))  # type: ignore[list-item]
    options = NanospecOptions(capacity=60, prompt_window=4)
    strategy = Noting(options, llama.required_ids, llama.vocab_size)
    engine = planned_engine(llama, strategy=strategy)
    report = engine.generate(PROMPT, 60)
    verdict, tree, topk_ids = strategy.seen[1]
    first = 1 + len(engine.steps[0].emitted_ids)
    paused = report.token_ids[first - 1 : first + 5]
    assert (tree.token_ids.tolist(), list(verdict.emitted_ids)) == (paused[:5], paused[1:])
    assert tree.parents.tolist() == [-1, 0, 1, 2, 3]
    assert topk_ids is not None
    assert topk_ids.shape == (5, 3)
    assert topk_ids[:, 0].tolist() == paused[1:]


def test_the_strategy_sees_the_tree_that_was_verified(llama: Target) -> None:
    options = NanospecOptions(capacity=60, prompt_window=4)
    strategy = Noting(options, llama.required_ids, llama.vocab_size)
    engine = planned_engine(llama, paper_costs({1: 20.0, 2: 20.1, 3: 40.0}), strategy=strategy)
    engine.generate(PROMPT, 30)
    sizes = [step.tree_nodes for step in engine.steps]
    assert [len(tree) for _, tree, _ in strategy.seen[: len(sizes)]] == sizes[: len(strategy.seen)]


# A node costs more than a pass, so that not even what is certain is worth it.
NEVER = {1: 20.0, 32: 1000.0}


class Stranger(ScriptedDrafter):
    """Knows nothing of budgets, and cannot pause."""


@pytest.mark.parametrize("nodes", [FLAT, NEVER, {1: 20.0, 2: 22.0, 5: 60.0}])
def test_a_drafter_that_never_asks_is_cut_to_what_pays(llama: Target, nodes: dict[int, float]) -> None:
    text = reference_greedy(llama.model, torch.tensor(PROMPT), 100)
    engine = planned_engine(llama, paper_costs(nodes), drafter=Stranger(llama.output_head, text))
    report = engine.generate(PROMPT, 60)
    assert report.token_ids == text[:60]
    if nodes is NEVER:
        assert {step.tree_nodes for step in engine.steps} == {1}
    else:
        assert report.tau > 1.3


def kinds(engine: Engine) -> list[tuple[DraftKind | None, int, int]]:
    return [(step.draft, step.tree_nodes, step.active_size) for step in engine.steps]


def test_a_drafter_that_cannot_pause_is_asked_at_every_step(llama: Target) -> None:
    text = reference_greedy(llama.model, torch.tensor(PROMPT), 40)
    drafter = Stranger(llama.output_head, text)
    engine = planned_engine(llama, paper_costs(IN_PROPORTION), drafter=drafter)
    report = engine.generate(PROMPT, 30)
    assert len(drafter.committed) == report.target_passes


def test_in_a_conversation_the_active_set_may_be_kept(llama: Target, decide: Callable[[Any], None]) -> None:
    decide(forced(["active", "full", "none"]))
    engine = planned_engine(llama, strategy=nanospec(llama, capacity=60, keep_between_turns=True))
    said, key = [*PROMPT], object()
    for turn in ([12, 13], [14, 15]):
        said += turn
        report = engine.generate(said, 8, turn_of=key)
        assert report.token_ids == reference_greedy(llama.model, torch.tensor(said), 8)
        said += report.token_ids


def test_a_request_leaves_nothing_behind_for_the_next(tmp_path: Path) -> None:
    target = repetitive_target()
    engine = engine_with("eagle and lookup", target, tmp_path)
    engine.generate(PROMPT, TOKENS)
    first = kinds(engine)
    engine.generate([90, 3, 90, 3, 90, 3, 90], TOKENS)
    engine.generate(PROMPT, TOKENS)
    assert kinds(engine) == first
