"""Whatever a screen finds, the output is the target's: candidates only say what is worth drafting."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import MethodType
from typing import Any

import attrs
import pytest
import torch
from own_distribution import own_distribution
from said_turns import converse
from said_turns import expected as expected_turns
from screens import NoStates, RandomlyScreened, RandomScreen, Screened, ScreenedAndSeen, WholeScreen
from tiny_engines import PROMPT, drafting_engine, eagle, endless_target, repetitive_target
from tiny_models import MODEL_TYPES, reference_greedy, tiny_model, tiny_target, tiny_tokenizer

from specframe.config import RunConfig
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.contracts.sampling import SamplingParams
from specframe.engine.assembly import bind_drafting, build_engine
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.drafting.planned import PlannedDrafting
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError, UsageError
from specframe.model.target import Target
from specframe.registry.manager import create_plugin_manager
from specframe.testing.exact_sampling import fit_to
from specframe.transformers import engine_for, generate
from specframe.vocabulary.whole import WholeVocabulary
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.vocabularies.full import FullVocabulary

TOKENS = 40
both = pytest.mark.parametrize("strategy", [Screened, ScreenedAndSeen])


@pytest.fixture(scope="module")
def llama() -> Target:
    return endless_target()


def answer(target: Target, tokens: int = TOKENS) -> list[int]:
    return reference_greedy(target.model, torch.tensor(PROMPT), tokens)


@both
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_random_screen_leaves_the_output_as_it_is(model_type: str, strategy: type[Screened]) -> None:
    target = repetitive_target(model_type)
    engine = drafting_engine(target, strategy=strategy(RandomScreen(9)))
    report = engine.generate(PROMPT, TOKENS)
    assert report.token_ids == answer(target)


def test_a_screen_that_finds_the_best_drafts_what_the_whole_head_does() -> None:
    target = repetitive_target()
    screened = drafting_engine(target, strategy=Screened(WholeScreen(eagle(target).branching)))
    whole = drafting_engine(target)
    vocabulary = WholeVocabulary(target.output_head, TorchGather())
    whole.drafting = ActiveDrafting(eagle(target), FullVocabulary(), vocabulary)
    reports = [engine.generate(PROMPT, TOKENS) for engine in (screened, whole)]
    names = ("token_ids", "target_passes", "accept_by_depth")
    assert len({str([getattr(report, name) for name in names]) for report in reports}) == 1
    assert reports[0].tau > 1


def test_an_earlier_request_changes_nothing(llama: Target) -> None:
    engine = drafting_engine(llama, strategy=ScreenedAndSeen(RandomScreen(9)))
    first = engine.generate(PROMPT, TOKENS)
    engine.generate(PROMPT[::-1], 5)
    again = engine.generate(PROMPT, TOKENS)
    assert (again.token_ids, again.coverage) == (first.token_ids, first.coverage)


@both
def test_a_drafter_with_a_vocabulary_of_its_own_is_screened_in_its_rows(
    llama: Target, strategy: type[Screened]
) -> None:
    ids = torch.randperm(llama.vocab_size, generator=torch.Generator().manual_seed(0))[:60]
    drafter = eagle(llama)
    drafter.output_head = OutputHead(llama.output_head.weight[ids], row_map=RowMap.of(ids, llama.vocab_size))
    report = drafting_engine(llama, drafter=drafter, strategy=strategy(RandomScreen(9))).generate(
        PROMPT, TOKENS
    )
    assert report.token_ids == answer(llama)


@both
def test_paths_that_are_copied_beside_a_screen_leave_the_output_as_it_is(strategy: type[Screened]) -> None:
    target = repetitive_target()
    drafter = SourceDrafter([LookupSource(32)], 32, eagle(target))
    engine = drafting_engine(target, drafter=drafter, strategy=strategy(RandomScreen(9)))
    report = engine.generate(PROMPT, 60)
    assert report.token_ids == answer(target, 60)
    assert len(report.accept_by_depth) > 3, "deeper than the head's trees: something was copied"


@both
def test_turns_of_a_conversation_answer_as_fresh_requests_do(llama: Target, strategy: type[Screened]) -> None:
    reports = converse(drafting_engine(llama, strategy=strategy(RandomScreen(9))))
    assert [report.token_ids for report in reports] == expected_turns(llama)
    assert reports[-1].kept_tokens


@pytest.mark.parametrize("call", [1, 3])
def test_a_screen_that_fails_is_named_and_with_fallback_the_rest_is_undrafted(
    llama: Target, call: int
) -> None:
    def broken(**settings: Any) -> Engine:
        screen, calls = RandomScreen(9), list[int]()
        right = screen.screen

        def wrong(self: RandomScreen, hidden: torch.Tensor) -> Any:
            calls.append(1)
            return right(hidden) if len(calls) < call else right(hidden).rows

        engine = drafting_engine(llama, strategy=Screened(screen), **settings)
        screen.screen = MethodType(wrong, screen)  # type: ignore[method-assign]  # breaks it on purpose
        return engine

    complaint = "strategy 'nanospec' screens a Tensor; allowed: Candidates"
    with pytest.raises(SpecframeError, match=complaint):
        broken().generate(PROMPT, TOKENS)
    report = broken(fallback=True).generate(PROMPT, TOKENS)
    assert report.token_ids == answer(llama)
    assert report.fallback is not None


@pytest.mark.parametrize(
    ("screen", "what"),
    [
        (object(), "is a object; allowed: a class that inherits Screen"),
        (RandomScreen("9"), "has the width '9'; allowed: a whole number"),  # type: ignore[arg-type]  # on purpose
    ],
)
def test_what_is_no_screen_is_refused_in_one_line(llama: Target, screen: Any, what: str) -> None:
    config = RunConfig(dtype="float32", gather="torch")
    with pytest.raises(SpecframeError, match=f"has a screen that {what}"):
        bind_drafting(eagle(llama), Screened(screen), TorchGather, config, NoStates())


def engine_with(target: Target, folder: Path, strategy: str = "random-screen", **settings: Any) -> Engine:
    """Return an engine as a user builds it, with the plugin installed."""
    torch.manual_seed(0)
    save_head(EagleHead(EagleConfig.for_target(target.config)), folder / "head")
    drafter = {"checkpoint": str(folder / "head")} | settings.pop("drafter", {})
    config = RunConfig(strategy=strategy, dtype="float32", options={"drafter": drafter}, **settings)
    manager = create_plugin_manager()
    manager.register(RandomlyScreened())
    return build_engine(config, target=target, manager=manager)


@pytest.mark.parametrize("strategy", ["random-screen", "random-screen-seen"])
def test_measured_costs_decide_beside_a_screen_too(tmp_path: Path, strategy: str) -> None:
    target = repetitive_target()
    engine = engine_with(target, tmp_path, strategy, costs="auto", drafter={"branching": 3})
    assert isinstance(engine.drafting, PlannedDrafting)
    assert engine.generate(PROMPT, 60).token_ids == answer(target, 60)


def test_more_beams_than_candidates_are_refused(tmp_path: Path, llama: Target) -> None:
    with pytest.raises(UsageError, match="7 candidates of strategy 'random-screen' is below the branching 8"):
        engine_with(llama, tmp_path, drafter={"branching": 8})


@pytest.mark.parametrize(
    ("verifier", "parameters"),
    [("multi-round", {"top_k": 3}), ("spectr-gbv", {"top_p": 0.4}), ("gbv", {"top_k": 2})],
)
def test_sampled_generations_follow_the_models_own_distribution(
    verifier: str, parameters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every token of a tree was drawn from candidates that differ by state, so each verdict needs its q."""
    monkeypatch.setattr(RandomlyScreened, "width", 4)
    target = tiny_target(vocab_size=8, num_hidden_layers=1, hidden_size=16, intermediate_size=16)
    target.stop_ids = frozenset()
    prompt = torch.tensor([5, 3, 6, 3])
    sampling = SamplingParams(temperature=1.5, **parameters)
    engine = engine_with(
        target,
        tmp_path,
        "random-screen",
        verifier=verifier,
        sampling=sampling,
        max_new_tokens=4,
        costs="off",
        drafter={"depth": 2, "branching": 2, "nodes": 5},
    )
    seeded = (attrs.evolve(sampling, seed=seed) for seed in range(300))
    counts = Counter(tuple(engine.generate(prompt, sampling=one).token_ids) for one in seeded)
    fit = fit_to(counts, own_distribution(target, sampling, prompt, 4))
    assert fit.p_value > 1e-3, fit
    assert any(step.accepted for step in engine.steps)


def test_transformers_generates_what_it_does_without(tmp_path: Path) -> None:
    model = tiny_model(max_position_embeddings=1024)
    model.generation_config.eos_token_id = None
    prompt = torch.tensor([PROMPT])
    torch.manual_seed(0)
    save_head(EagleHead(EagleConfig.for_target(model.config)), tmp_path / "head")
    config = RunConfig(
        strategy="lowrank",
        options={
            "drafter": {"checkpoint": str(tmp_path / "head")},
            "vocabulary": {"rank": 16, "candidates": 20},
        },
    )
    arguments = {"do_sample": False, "max_new_tokens": 24}
    expected = model.generate(prompt, **arguments)
    engine = engine_for(model, config, tiny_tokenizer())
    found = model.generate(prompt, custom_generate=generate, specframe=engine, **arguments)
    assert found.tolist() == expected.tolist()
