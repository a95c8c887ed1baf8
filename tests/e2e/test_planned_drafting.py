"""Whatever a controller chooses, the output is the target's, and a pause changes nothing of later drafts."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import ScriptedDrafter
from specframe.engine.drafting.controlled import ControlledDrafting
from specframe.engine.drafting.controller import Controller
from tiny_engines import PROMPT, drafting_engine, eagle, endless_target, nanospec, repetitive_target
from tiny_models import MODEL_TYPES, reference_greedy
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import GatherBackend
from specframe.contracts.report import Arm, PassesPerArm
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.drafting.protocol import Drafting
from specframe.engine.engine import Engine
from specframe.model.target import Prefill, Target
from specframe.vocabulary.store import VocabularyStore
from specframe.vocabulary.whole import WholeVocabulary
from specframe_plugins.drafters.lookup.drafter import LookupDrafter
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.vocabularies.full import FullVocabulary
from specframe_plugins.vocabularies.nanospec import NanospecOptions, NanospecVocabulary

SPARE_IDS = torch.arange(80, 100)
ARMS: tuple[Arm, ...] = ("pruned", "grown", "full", "stopped")


class Forced(Controller):
    """Chooses what a test says, again and again."""

    def __init__(self, arms: list[Arm]) -> None:
        super().__init__(("pruned", "grown", "full"), 3, can_stop=True)
        self._forced = arms
        self._at = 0

    def choose(self) -> Arm:
        self._running = self._forced[self._at % len(self._forced)]
        self._at += 1
        return self._running


class Noting(NanospecVocabulary):
    """Keeps what it was shown."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[tuple[Verdict, DraftTree, Tensor | None]] = []

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        self.seen.append((verdict, tree, target_topk_ids))
        return super().observe(verdict, tree, target_topk_ids)


def controlled(
    target: Target, arms: list[Arm] | None = None, *, drafter: Any = None, strategy: Any = None
) -> ControlledDrafting:
    options = NanospecOptions(capacity=60, prompt_window=4)
    strategy = strategy or NanospecVocabulary(options, target.required_ids, target.vocab_size, SPARE_IDS)
    store = VocabularyStore(target.output_head, TorchGather(), capacity=60, pinned_ids=strategy.pinned_ids)
    inner = ActiveDrafting(drafter or eagle(target), strategy, store)
    everything = WholeVocabulary(target.output_head, TorchGather())
    return ControlledDrafting(inner, everything, None if arms is None else Forced(arms))


def controlled_engine(target: Target, arms: list[Arm] | None = None, **parts: Any) -> Engine:
    engine = drafting_engine(target, drafter=parts.get("drafter"))
    engine.drafting = controlled(target, arms, **parts)
    return engine


@pytest.fixture(scope="module", params=MODEL_TYPES)
def target(request: pytest.FixtureRequest) -> Target:
    return endless_target(request.param)


@pytest.fixture(scope="module")
def llama() -> Target:
    return endless_target()


@pytest.mark.parametrize("seed", range(2))
def test_any_choice_at_any_pass_leaves_the_output_as_it_is(target: Target, seed: int) -> None:
    source = random.Random(seed)
    arms = [source.choice(ARMS) for _ in range(97)]
    report = controlled_engine(target, arms).generate(PROMPT, 60)
    assert report.token_ids == reference_greedy(target.model, torch.tensor(PROMPT), 60)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("seed", range(2))
def test_any_choice_at_any_pass_leaves_the_output_as_it_is_where_text_is_copied(
    model_type: str, seed: int
) -> None:
    source, target = random.Random(seed), repetitive_target(model_type)
    arms = [source.choice(ARMS) for _ in range(97)]
    engine = controlled_engine(target, arms, drafter=LookupDrafter(eagle(target), 32))
    report = engine.generate(PROMPT, 60)
    assert report.token_ids == reference_greedy(target.model, torch.tensor(PROMPT), 60)


def test_a_long_pause_leaves_the_output_as_it_is(llama: Target) -> None:
    arms: list[Arm] = [*["pruned"] * 3, *["stopped"] * 140, *["pruned"] * 20]
    report = controlled_engine(llama, arms).generate(PROMPT, 170)
    assert report.token_ids == reference_greedy(llama.model, torch.tensor(PROMPT), 170)


def test_it_chooses_for_itself_and_says_so(llama: Target) -> None:
    report = controlled_engine(llama).generate(PROMPT, 60)
    assert report.token_ids == reference_greedy(llama.model, torch.tensor(PROMPT), 60)
    assert report.controller is not None
    assert sum((report.controller.pruned, report.controller.grown, report.controller.full)) > 0
    assert sum(getattr(report.controller, arm) for arm in ARMS) == report.target_passes


def test_the_report_counts_the_passes_of_every_arm(llama: Target) -> None:
    engine = controlled_engine(llama, ["pruned", "full", "stopped"])
    report = engine.generate(PROMPT, 40)
    passes = report.target_passes
    assert report.controller == PassesPerArm((passes + 2) // 3, 0, (passes + 1) // 3, passes // 3)
    full = [step for step in engine.steps if step.arm == "full"]
    assert {step.active_size for step in full} == {llama.vocab_size}
    assert "oov" not in {step.rejection for step in full}
    assert {step.tree_nodes for step in engine.steps if step.arm == "stopped"} == {1}


def test_a_grown_active_set_has_the_spare_ids_and_a_shrunk_one_has_not(llama: Target) -> None:
    drafting = controlled(llama, ["grown", "pruned"])
    engine = drafting_engine(llama)
    engine.drafting = drafting
    before = 0
    for _ in engine.stream(PROMPT, 12):
        figures = drafting.figures
        if figures.arm == "grown":
            assert bool(figures.covered(tuple(SPARE_IDS.tolist())).all())
            before = int(figures.active_size)
        elif figures.arm == "pruned":
            assert int(figures.active_size) < before
    assert all(step.rows_fetched <= step.active_size for step in engine.steps)


def test_a_turn_that_ends_without_drafts_can_be_gone_on_from(llama: Target) -> None:
    engine = controlled_engine(llama, ["pruned", "stopped", "stopped"])
    said, key = [*PROMPT], object()
    for turn in ([12, 13, 14], [77, 5, 5]):
        said += turn
        report = engine.generate(said, 9, turn_of=key)
        assert report.token_ids == reference_greedy(llama.model, torch.tensor(said), 9)
        said += report.token_ids
    assert report.kept_tokens >= len(PROMPT) + 3 + 9 - 2


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


@torch.inference_mode()
@pytest.mark.parametrize("pause", [1, 2, 7, 64, 65, 150])
def test_after_a_pause_the_same_tokens_are_drafted_as_without_one(llama: Target, pause: int) -> None:
    everything = WholeVocabulary(llama.output_head, TorchGather())
    arms: list[Arm] = [*["full"] * 2, *["stopped"] * pause, *["full"] * 3]
    steady, inner = (ActiveDrafting(eagle(llama), FullVocabulary(), everything) for _ in range(2))
    paused = ControlledDrafting(inner, everything, Forced(arms))
    one, other = (drafts(drafting, llama, len(arms)) for drafting in (paused, steady))
    assert {len(tree) for tree in one[2:-3]} == {1}
    for tree, expected in zip(one[-3:], other[-3:], strict=True):
        assert torch.equal(tree.token_ids, expected.token_ids)
        assert torch.equal(tree.parents, expected.parents)
        torch.testing.assert_close(tree.log_probs, expected.log_probs)


def test_the_strategy_learns_of_a_pause_as_of_one_accepted_chain(llama: Target) -> None:
    options = NanospecOptions(capacity=60, prompt_window=4)
    strategy = Noting(options, llama.required_ids, llama.vocab_size)
    engine = controlled_engine(llama, ["pruned", *["stopped"] * 5, "pruned"], strategy=strategy)
    report = engine.generate(PROMPT, 60)
    verdict, tree, topk_ids = strategy.seen[1]
    first = 1 + len(engine.steps[0].emitted_ids)
    paused = report.token_ids[first - 1 : first + 5]
    assert (tree.token_ids.tolist(), list(verdict.emitted_ids)) == (paused[:5], paused[1:])
    assert tree.parents.tolist() == [-1, 0, 1, 2, 3]
    assert topk_ids is not None
    assert topk_ids.shape == (5, 3)
    assert topk_ids[:, 0].tolist() == paused[1:]


class FakeTime:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Pausing(ScriptedDrafter):
    """Knows the text to come, but only from some token on; drafting takes time, most of it for the head."""

    can_pause = True

    def __init__(self, target: Target, text: list[int], knows_from: int, time: FakeTime) -> None:
        super().__init__(target.output_head, text, max_nodes=4)
        self._knows_from, self._time, self._accepted = knows_from, time, 0

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        self._time.now += 0.005
        clock.lap("draft_backbone")
        upcoming = self._text[self._emitted : self._emitted + 3]
        if self._emitted < self._knows_from:
            upcoming = [(token + 1) % 101 for token in upcoming]
        nodes = torch.arange(len(upcoming) + 1)
        return DraftTree(torch.tensor([root, *upcoming]), nodes - 1, nodes, torch.zeros(len(nodes)))

    def commit(self, verdict: Verdict) -> None:
        super().commit(verdict)
        self._accepted = len(verdict.accepted_ids)

    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        assert len(token_ids) == len(features)
        self._emitted += len(token_ids) - self._accepted
        self._accepted = 0


def test_a_useless_drafter_is_stopped_until_the_text_becomes_predictable(
    llama: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, text = FakeTime(), reference_greedy(llama.model, torch.tensor(PROMPT), 240)
    engine = controlled_engine(llama, drafter=Pausing(llama, text, 100, time))
    engine.clock = PhaseClock(now=time)
    tree_pass = llama.tree_pass

    def timed(tree: DraftTree) -> Any:
        time.now += 0.020 if len(tree) == 1 else 0.030
        return tree_pass(tree)

    monkeypatch.setattr(llama, "tree_pass", timed)
    report = engine.generate(PROMPT, 240)
    assert report.token_ids == text
    stopped = [step.arm == "stopped" for step in engine.steps]
    emitted = [0]
    for step in engine.steps:
        emitted.append(emitted[-1] + len(step.emitted_ids))
    useless = [on for on, before in zip(stopped, emitted, strict=False) if before < 95]
    assert sum(useless) > 0.8 * len(useless)
    assert sum(stopped[-20:]) <= 1
    assert report.wall_s < 0.9 * 0.020 * 240


@pytest.mark.parametrize("strategy", ["nanospec", "static", "full"])
def test_the_option_controls_every_strategy_that_ships(
    strategy: str, tiny_directory: Path, tiny_head: Path, tmp_path: Path
) -> None:
    frequencies = tmp_path / "frequencies.json"
    frequencies.write_text(json.dumps(list(range(3, 60))), encoding="utf-8")
    own: dict[str, dict[str, str]] = {
        "nanospec": {"capacity": "60", "core": "8", "frequencies": str(frequencies)},
        "static": {"size": "40", "frequencies": str(frequencies)},
        "full": {},
    }
    options = {
        "vocabulary": {"controller": "on", **own[strategy]},
        "drafter": {"checkpoint": str(tiny_head)},
    }
    config = RunConfig(model=str(tiny_directory), strategy=strategy, dtype="float32", options=options)
    assert build_engine(config).generate(PROMPT, 10).controller is not None


def test_in_a_conversation_the_controlled_active_set_may_be_kept(llama: Target) -> None:
    strategy = nanospec(llama, capacity=60, keep_between_turns=True)
    strategy.spare_ids = SPARE_IDS
    engine = controlled_engine(llama, ["grown"], strategy=strategy)
    said, key = [*PROMPT], object()
    for turn in ([12, 13], [14, 15]):
        said += turn
        report = engine.generate(said, 8, turn_of=key)
        assert report.token_ids == reference_greedy(llama.model, torch.tensor(said), 8)
        said += report.token_ids
