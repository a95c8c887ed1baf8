"""Drafters that call no LM head, and what drafters learn from the target: exact, bounded, and forgotten."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
import torch
from own_distribution import own_distribution
from tiny_engines import PROMPT, autoregressive_engine, drafting_engine, eagle, repetitive_target
from tiny_models import tiny_target
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine, drafting_without_head
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError, UsageError
from specframe.model.target import Target
from specframe.registry.observers import Observers
from specframe.testing.exact_sampling import fit_to
from specframe_plugins.verifiers.greedy import GreedyVerifier

ALONE = ("lookup", "suffix", "token-recycling", "logitspec", "aded", "combine")
# These learn, and may be kept warm.
LEARNING = ("suffix", "token-recycling", "aded", "combine")
NEW_TOKENS = 40


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def target(request: pytest.FixtureRequest) -> Target:
    return repetitive_target(request.param)


@pytest.fixture(scope="module")
def llama() -> Target:
    return repetitive_target()


def engine_of(target: Target, drafter: str, **settings: Any) -> Engine:
    config = {"dtype": "float32", "costs": "off", "max_new_tokens": NEW_TOKENS} | settings
    return build_engine(RunConfig(drafter=drafter, **config), target=target)


def own_text(target: Target, prompt: list[int]) -> list[int]:
    return autoregressive_engine(target).generate(prompt, NEW_TOKENS).token_ids


@pytest.mark.parametrize("drafter", ALONE)
def test_the_text_is_the_targets_own(target: Target, drafter: str) -> None:
    report = engine_of(target, drafter).generate(PROMPT)
    assert report.token_ids == own_text(target, PROMPT)
    assert report.tau > 1.0, "nothing was ever accepted: this test would not see a wrong token"


@pytest.mark.parametrize("drafter", LEARNING)
def test_a_warm_drafter_changes_no_token(llama: Target, drafter: str) -> None:
    engine = engine_of(llama, drafter, warm="shared")
    cold, cold_steps = engine.generate(PROMPT), engine.steps
    warm = engine.generate(PROMPT)
    assert warm.token_ids == cold.token_ids == own_text(llama, PROMPT)
    assert engine.steps[0].tree_nodes > cold_steps[0].tree_nodes, "it had learnt nothing"


@pytest.mark.parametrize("drafter", LEARNING)
def test_what_was_learnt_is_gone_before_the_next_request(llama: Target, drafter: str) -> None:
    engine = engine_of(llama, drafter)
    assert engine.generate(PROMPT).target_passes == engine.generate(PROMPT).target_passes


def test_a_drafter_that_is_warm_for_a_conversation_learns_from_that_one_alone(llama: Target) -> None:
    engine, mine, yours = engine_of(llama, "suffix", warm="conversation"), object(), object()
    cold = engine.generate(PROMPT, turn_of=mine).target_passes
    assert engine.generate(PROMPT, turn_of=mine).target_passes < cold
    assert engine.generate(PROMPT, turn_of=yours).target_passes == cold
    assert engine.generate(PROMPT).target_passes == engine.generate(PROMPT).target_passes == cold


def test_a_shared_drafter_forgets_when_it_is_told_to(llama: Target) -> None:
    engine = engine_of(llama, "suffix", warm="shared")
    cold = engine.generate(PROMPT).target_passes
    engine.forget()
    assert engine.generate(PROMPT).target_passes == cold


def test_reports_name_what_a_drafter_could_learn_from(llama: Target) -> None:
    assert engine_of(llama, "suffix", warm="shared").generate(PROMPT).warm == "shared"
    assert engine_of(llama, "suffix").generate(PROMPT).warm == "off"


@pytest.mark.parametrize("settings", [{"drafter": "lookup"}, {"drafter": "eagle"}], ids=str)
def test_who_learns_nothing_cannot_be_kept_warm(settings: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"learns nothing; allowed: off, or --drafter aded or combine or"):
        build_engine(RunConfig(**settings, warm="shared"))


def test_where_nothing_is_drafted_nothing_is_kept_warm() -> None:
    with pytest.raises(UsageError, match="nothing is drafted; allowed: off"):
        build_engine(RunConfig(strategy="autoregressive", warm="shared"))


def test_without_a_head_no_strategy_is_asked(llama: Target) -> None:
    options = {"vocabulary": {"capacity": 1}}  # below its pinned ids, which a strategy would refuse
    report = engine_of(llama, "lookup", options=options).generate(PROMPT)
    assert report.active_max == llama.vocab_size
    assert report.oov_rejections == report.unknown_ids == 0


class Harvesting(Drafter):
    """Drafts nothing, and keeps what it is told about the target."""

    max_depth, max_nodes, harvest_topk, harvest_log_probs, prompt_window = 0, 1, 3, True, 4

    def __init__(self) -> None:
        self.prompt: tuple[Tensor, TopTokens] | None = None
        self.seen: list[tuple[Verdict, DraftTree, TopTokens]] = []

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        pass

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        return DraftTree.root_only(root)

    def commit(self, verdict: Verdict) -> None:
        pass

    def learn_prompt(self, token_ids: Tensor, top: TopTokens) -> None:
        self.prompt = token_ids, top

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None) -> None:
        assert top is not None
        self.seen.append((verdict, tree, top))


def logits_of(target: Target, ids: list[int]) -> Tensor:
    target.begin(len(ids))
    hidden = target.forward.run(
        torch.tensor(ids), torch.arange(len(ids)), torch.ones(len(ids), len(ids)).tril().bool()
    )[0]
    return target.output_head.logits(hidden).float().log_softmax(dim=-1)


@torch.inference_mode()
def test_a_drafter_is_told_what_the_target_finds_likely_after_every_node(llama: Target) -> None:
    drafter = Harvesting()
    config = RunConfig(dtype="float32", max_new_tokens=6)
    drafting = drafting_without_head(drafter, llama, None)
    report = Engine(config, llama, GreedyVerifier(), drafting, Observers()).generate(PROMPT)
    best = logits_of(llama, [*PROMPT, *report.token_ids]).topk(3)
    assert drafter.prompt is not None
    ids, top = drafter.prompt
    assert ids.tolist() == PROMPT[-4:]
    last = slice(len(PROMPT) - 4, len(PROMPT))
    assert torch.equal(top.ids, best.indices[last])
    assert top.log_probs is not None
    torch.testing.assert_close(top.log_probs, best.values[last], atol=1e-4, rtol=0.0)
    assert [int(tree.token_ids[0]) for _, tree, _ in drafter.seen] == report.token_ids[:-1]
    for at, (_, _, seen) in enumerate(drafter.seen):
        assert torch.equal(seen.ids[0], best.indices[len(PROMPT) + at])


class AsksInVain(Harvesting):
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        head.topk(features, 1)
        return DraftTree.root_only(root)


def test_a_drafter_that_asks_for_a_head_it_did_not_declare_is_told_so(llama: Target) -> None:
    drafting = drafting_without_head(AsksInVain(), llama, None)
    engine = Engine(RunConfig(dtype="float32"), llama, GreedyVerifier(), drafting, Observers())
    with pytest.raises(SpecframeError, match="asks for an LM head and declares no output_head"):
        engine.generate(PROMPT, 4)


class LearningEagle:
    """An EAGLE drafter that counts what it learns from."""

    def __init__(self, target: Target) -> None:
        self.drafter: Any = eagle(target)
        self.seen: list[tuple[DraftTree, TopTokens]] = []
        self.drafter.harvest_topk = 5
        self.drafter.learn = lambda verdict, tree, top: self.seen.append((tree, top))


def test_with_a_head_strategy_and_drafter_each_see_as_many_ids_as_they_asked_for(llama: Target) -> None:
    learning = LearningEagle(llama)
    report = drafting_engine(llama, drafter=learning.drafter).generate(PROMPT, 12)
    assert report.token_ids == own_text(llama, PROMPT)[:12]
    assert len(learning.seen) == report.target_passes
    assert all(top.ids.shape == (len(tree), 5) for tree, top in learning.seen)


VOCAB_SIZE, LENGTH, GENERATIONS = 8, 4, 300
SHORT = torch.tensor([5, 3, 6, 3])


@pytest.mark.parametrize("warm", ["off", "shared"])
def test_sampled_text_follows_the_targets_own_distribution(warm: str) -> None:
    target = tiny_target(
        "llama", vocab_size=VOCAB_SIZE, num_hidden_layers=1, hidden_size=16, intermediate_size=16
    )
    target.stop_ids = frozenset()
    config = RunConfig(
        drafter="combine",
        dtype="float32",
        warm=warm,  # type: ignore[arg-type]
        max_new_tokens=LENGTH,
        sampling=SamplingParams(temperature=1.5, top_k=3),
        options={"drafter": {"sources": "suffix+token-recycling+logitspec+aded"}},
    )
    engine = build_engine(config, target=target)
    seeded = (attrs.evolve(config.sampling, seed=seed) for seed in range(GENERATIONS))
    reports = [engine.generate(SHORT, sampling=sampling) for sampling in seeded]
    assert max(report.tau for report in reports) > 1.0, "nothing was drafted: this would see no fault"
    counts = Counter(tuple(report.token_ids) for report in reports)
    fit = fit_to(counts, own_distribution(target, config.sampling, SHORT, LENGTH))
    assert fit.p_value > 1e-3, fit
