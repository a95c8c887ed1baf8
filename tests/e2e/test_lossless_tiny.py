"""Greedy output equals transformers' generate, id by id, whatever is drafted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import ScriptedDrafter
from tiny_engines import repetitive_target
from tiny_models import MODEL_TYPES, reference_greedy, tiny_target

from specframe.config import RunConfig
from specframe.contracts.report import GenerationReport
from specframe.engine.assembly import build_engine
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.drafting.autoregressive import Autoregressive
from specframe.engine.engine import Engine
from specframe.model.target import Target
from specframe.registry.observers import Observers
from specframe.testing.tiny import EOS_ID
from specframe.vocabulary.whole import WholeVocabulary
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.verifiers.greedy import GreedyVerifier
from specframe_plugins.vocabularies.full import FullVocabulary

pytestmark = pytest.mark.numbers

PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11])


@pytest.fixture(scope="module", params=MODEL_TYPES)
def target(request: pytest.FixtureRequest) -> Target:
    return tiny_target(request.param)


def without_eos(target: Target) -> None:
    """Let a generation run to its length."""
    target.model.generation_config.eos_token_id = None
    target.stop_ids = frozenset()


def scripted_engine(target: Target, text: list[int], *, seed: int = 0, chunk: int = 512) -> Engine:
    drafter = ScriptedDrafter(target.output_head, text, seed=seed)
    everything = WholeVocabulary(target.output_head, TorchGather())
    config = RunConfig(strategy="full", dtype="float32", prefill_chunk=chunk)
    drafting = ActiveDrafting(drafter, FullVocabulary(), everything)
    return Engine(config, target, GreedyVerifier(), drafting, Observers())


@pytest.mark.parametrize("seed", range(4))
def test_random_trees_never_change_the_output(target: Target, seed: int) -> None:
    without_eos(target)
    expected = reference_greedy(target.model, PROMPT, 60)
    report = scripted_engine(target, expected, seed=seed).generate(PROMPT, 60)
    assert report.token_ids == expected
    assert report.tau > 1.2, "the trees were meant to hit often"


@pytest.mark.parametrize("chunk", [1, 3, 4, 11])
def test_a_prompt_longer_than_one_prefill_chunk_changes_nothing(target: Target, chunk: int) -> None:
    without_eos(target)
    expected = reference_greedy(target.model, PROMPT, 12)
    assert scripted_engine(target, expected, chunk=chunk).generate(PROMPT, 12).token_ids == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_the_length_limit_is_exact(target: Target, limit: int) -> None:
    without_eos(target)
    expected = reference_greedy(target.model, PROMPT, limit)
    report = scripted_engine(target, reference_greedy(target.model, PROMPT, 20)).generate(PROMPT, limit)
    assert (report.token_ids, report.finish_reason) == (expected, "length")


@pytest.mark.parametrize("position", range(1, 9))
def test_nothing_after_a_stop_id_is_returned(target: Target, position: int) -> None:
    without_eos(target)
    text = reference_greedy(target.model, PROMPT, 30)
    stop = text[position]
    target.model.generation_config.eos_token_id = stop
    target.stop_ids = frozenset({stop})
    report = scripted_engine(target, text, seed=position).generate(PROMPT, 30)
    assert report.token_ids == text[: text.index(stop) + 1]
    assert report.finish_reason == "eos"


def test_requests_do_not_depend_on_their_order(target: Target) -> None:
    without_eos(target)
    other = torch.tensor([88, 3, 3, 90])
    engine = Engine(RunConfig(dtype="float32"), target, GreedyVerifier(), Autoregressive(), Observers())
    alone = [engine.generate(prompt, 10).token_ids for prompt in (PROMPT, other)]
    swapped = [engine.generate(prompt, 10).token_ids for prompt in (other, PROMPT)]
    assert alone == swapped[::-1]


def test_the_declared_eos_stops_a_generation() -> None:
    assert tiny_target("llama").stop_ids == {EOS_ID}


def test_autoregressive_decoding_emits_one_token_per_target_pass(target: Target) -> None:
    without_eos(target)
    report = Engine(
        RunConfig(strategy="autoregressive", dtype="float32"),
        target,
        GreedyVerifier(),
        Autoregressive(),
        Observers(),
    ).generate(PROMPT, 10)
    assert (report.tau, report.target_passes, report.drafter) == (1.0, 9, None)
    assert report.token_ids == reference_greedy(target.model, PROMPT, 10)


@pytest.fixture(scope="module", params=MODEL_TYPES)
def repetitive(request: pytest.FixtureRequest) -> Target:
    return repetitive_target(request.param)


def generate(
    target: Target, folder: Path, strategy: str, drafter: str, max_new_tokens: int = 60, **options: Any
) -> GenerationReport:
    """Generate with components by name; an EAGLE head is a random one."""
    if drafter == "eagle":
        torch.manual_seed(0)
        save_head(EagleHead(EagleConfig.for_target(target.config)), folder / "head")
        options["checkpoint"] = str(folder / "head")
    (folder / "ids.json").write_text(json.dumps(list(range(3, 101))), encoding="utf-8")
    vocabulary: dict[str, dict[str, Any]] = {
        "full": {},
        "static": {"size": 80, "frequencies": str(folder / "ids.json")},
        "nanospec": {"capacity": 60},
        "exact-screen": {"candidates": 16},
    }
    config = RunConfig(
        strategy=strategy,
        drafter=drafter,
        dtype="float32",
        options={"vocabulary": vocabulary[strategy], "drafter": options},
    )
    return build_engine(config, target=target).generate(PROMPT, max_new_tokens)


@pytest.mark.parametrize("drafter", ["eagle", "lookup"])
@pytest.mark.parametrize("strategy", ["full", "static", "nanospec", "exact-screen"])
def test_text_that_is_copied_from_the_context_never_changes_the_output(
    repetitive: Target, strategy: str, drafter: str, tmp_path: Path
) -> None:
    report = generate(repetitive, tmp_path, strategy, drafter)
    assert report.token_ids == reference_greedy(repetitive.model, PROMPT, 60)
    assert report.tau > 1.15, "the text was meant to repeat itself"


@pytest.mark.parametrize("strategy", ["full", "static", "nanospec"])
def test_a_text_that_repeats_itself_takes_fewer_passes_with_a_copied_path(
    strategy: str, tmp_path: Path
) -> None:
    target = repetitive_target()
    without, copied = (generate(target, tmp_path, strategy, "eagle", lookup=lookup) for lookup in (0, 32))
    assert copied.tau > without.tau + 0.1


def test_a_copied_path_may_lead_beyond_the_last_position(tmp_path: Path) -> None:
    target = repetitive_target("qwen2", max_position_embeddings=len(PROMPT) + 40)
    report = generate(target, tmp_path, "full", "lookup", 40)
    assert report.token_ids == reference_greedy(target.model, PROMPT, 40)
