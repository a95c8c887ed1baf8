"""Exact verifiers emit the target's distribution, over all draft trees and all decisions.

Nothing is estimated here. A tiny vocabulary lets every tree that the drafter may draw, and every way that a
verifier may decide, be visited; what is left is rounding. ``test_sampled_frequencies`` draws instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from exact_cases import EXACT
from exhaustive import (
    Distribution,
    all_trees,
    emitted_exactly,
    lengthened,
    sequences,
    total_variation,
)
from torch import Tensor
from transformers import LogitsProcessorList
from wrong_verifiers import MUTANTS

from specframe.contracts.kinds import TreeKind
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Verifier
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.tree import DraftTree, Verdict
from specframe.request.generation_config import ModelDefaults, Situation
from specframe.request.processors import LogitsProcessing, logits_processors
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.verifiers.block import BlockVerifier
from specframe_plugins.verifiers.gbv import GbvVerifier
from specframe_plugins.verifiers.multi_round import MultiRoundVerifier
from specframe_plugins.verifiers.spectr import SpectrVerifier
from specframe_plugins.verifiers.spectr_gbv import SpectrGbvVerifier
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions
from specframe_plugins.vocabularies.nanospec import NanospecVocabulary

VOCAB_SIZE, DEPTH = 3, 2
PROMPT = torch.tensor([2, 0])
FILTERS = [{"top_p": 0.8}, {"top_k": 2}, {"repetition_penalty": 1.8}]
CONFIGS = [
    SamplingParams(temperature=temperature, **extra)  # type: ignore[arg-type]
    for temperature, extra in itertools.product((0.3, 1.0, 2.0), FILTERS)
]

OF_MODELS: list[dict[str, Any]] = [
    {"no_repeat_ngram_size": 2},
    {"temperature": 0.7, "sequence_bias": [[[0, 2], 1.5]], "top_k": 2},
    {"begin_suppress_tokens": [0], "repetition_penalty": 1.4},
    {"min_new_tokens": 2, "typical_p": 0.8},
]

Tokens = tuple[int, ...]


def table(seed: int, width: int) -> Callable[[Tokens], Tensor]:
    """Return random logits [width] for every sequence of tokens."""
    known: dict[Tokens, Tensor] = {}

    def logits(tokens: Tokens) -> Tensor:
        if tokens not in known:
            number = seed
            for token in tokens:
                number = number * 7 + token + 1
            known[tokens] = 1.5 * torch.randn(width, generator=torch.Generator().manual_seed(number))
        return known[tokens]

    return logits


def nodes_of(tree: DraftTree) -> list[Tokens]:
    """Return the tokens below the root down to each node."""
    nodes: list[Tokens] = [()]
    for token, parent in list(zip(tree.token_ids.tolist(), tree.parents.tolist(), strict=True))[1:]:
        nodes.append((*nodes[parent], token))
    return nodes


def processed_target(
    logits: Callable[[Tokens], Tensor], processors: LogitsProcessorList
) -> Callable[[Tokens], Tensor]:
    """Return the target's distribution as transformers' processors make it, one sequence at a time."""

    def distribution(tokens: Tokens) -> Tensor:
        ids = torch.cat([PROMPT, torch.tensor(tokens, dtype=torch.int64)])
        return torch.softmax(processors(ids[None], logits(tokens)[None]), dim=-1)[0]  # type: ignore[arg-type]

    return distribution


def first_tokens(
    verifier: Verifier,
    kind: TreeKind,
    width: int,
    active: Tensor,
    sampling: SamplingParams,
    seed: int,
    model: ModelDefaults | None = None,
) -> tuple[Distribution, Distribution, float]:
    """Return how the first tokens are distributed, how they should be, and their mean number per pass."""
    logits, drafter_logits = table(seed, VOCAB_SIZE), table(seed + 1000, len(active))
    situation = Situation(prompt_ids=PROMPT, limit=18, ends=torch.tensor([1]))
    processors = logits_processors(sampling, None, model, situation)
    target = processed_target(logits, processors)
    processing = LogitsProcessing(processors, PROMPT, 20)

    def drafter(tokens: Tokens) -> Tensor:
        return torch.softmax(drafter_logits(tokens) / sampling.temperature, dim=-1)

    got: Distribution = {}
    efficiency = 0.0
    for tree, chance in all_trees(kind, drafter, active, DEPTH, width):
        raw = torch.stack([logits(tokens) for tokens in nodes_of(tree)])
        emitted = emitted_exactly(verifier, tree, processing.after(tree, raw))
        efficiency += sum(len(ids) * probability for ids, probability in emitted.items()) * chance
        for ids, probability in lengthened(emitted, target, DEPTH + 1).items():
            got[ids] = got.get(ids, 0.0) + probability * chance
    return got, sequences(target, DEPTH + 1), efficiency


def full() -> Iterator[Tensor]:
    while True:
        yield torch.arange(VOCAB_SIZE)


def static() -> Iterator[Tensor]:
    while True:
        yield torch.tensor([2, 0])


def nanospec() -> Iterator[Tensor]:
    """Yield the active tokens of a real strategy and store, different after every target pass."""
    head = OutputHead(torch.zeros(VOCAB_SIZE, 4))
    strategy = NanospecVocabulary(NanospecOptions(capacity=2), torch.empty(0, dtype=torch.int64), VOCAB_SIZE)
    store = VocabularyStore(head, TorchGather(), capacity=2, pinned_ids=strategy.pinned_ids)
    store.admit(strategy.start(torch.tensor([0, 1]), None))
    for step in itertools.count():
        before = store.active.token_of[: int(store.active_size)].long()
        yield before
        token = next(token for token in range(VOCAB_SIZE) if token not in before.tolist())
        verdict = Verdict((0,), (), token, True)
        topk_ids = torch.full((1, strategy.harvest_topk), token) if strategy.harvest_topk else None
        store.admit(strategy.observe(verdict, DraftTree.root_only(token), topk_ids))
        assert before.tolist() != store.active.token_of[: int(store.active_size)].tolist(), (
            f"unchanged by step {step}"
        )


@pytest.mark.parametrize("strategy", [full, static, nanospec])
@pytest.mark.parametrize(("verifier", "kind", "width"), EXACT)
def test_the_next_tokens_are_distributed_as_the_targets_own(
    verifier: type[Verifier], kind: TreeKind, width: int, strategy: Callable[[], Iterator[Tensor]]
) -> None:
    for seed, (sampling, active) in enumerate(zip(CONFIGS, strategy(), strict=False)):
        got, expected, _ = first_tokens(verifier(), kind, width, active, sampling, seed)
        assert sum(got.values()) == pytest.approx(1.0, abs=1e-6)
        assert total_variation(got, expected) < 1e-5, f"{sampling}, active {active.tolist()}"


@pytest.mark.parametrize("entries", OF_MODELS, ids=lambda entries: "+".join(entries))
@pytest.mark.parametrize(("verifier", "kind", "width"), EXACT)
def test_they_are_so_with_what_a_models_generation_config_asks_for(
    verifier: type[Verifier], kind: TreeKind, width: int, entries: dict[str, Any]
) -> None:
    model = ModelDefaults.of({"do_sample": True, **entries}, "tiny")
    sampling = model.settle(SamplingParams())
    for seed, active in enumerate([torch.arange(VOCAB_SIZE), torch.tensor([2, 0])]):
        got, expected, _ = first_tokens(verifier(), kind, width, active, sampling, seed, model)
        plain = first_tokens(verifier(), kind, width, active, SamplingParams(temperature=1.0), seed)[1]
        assert total_variation(got, expected) < 1e-5, f"active {active.tolist()}"
        assert total_variation(plain, expected) > 1e-3


@pytest.mark.parametrize(("mutant", "kind", "width"), MUTANTS)
def test_a_verifier_with_a_mistake_is_not_exact(mutant: type[Verifier], kind: TreeKind, width: int) -> None:
    sampling, active = SamplingParams(temperature=1.0), torch.arange(VOCAB_SIZE)
    off = [first_tokens(mutant(), kind, width, active, sampling, seed)[:2] for seed in range(3)]
    assert max(total_variation(got, expected) for got, expected in off) > 1e-3


def mean_efficiency(verifier: Verifier, kind: TreeKind, width: int) -> float:
    """Return the mean number of tokens per target pass over random targets and drafters."""
    sampling, active = SamplingParams(temperature=1.0), torch.arange(VOCAB_SIZE)
    return sum(first_tokens(verifier, kind, width, active, sampling, 50 + seed)[2] for seed in range(6)) / 6


def test_block_efficiency_orders_the_verifiers_as_the_papers_do() -> None:
    token_wise = mean_efficiency(MultiRoundVerifier(), "chain", 1)
    block = mean_efficiency(BlockVerifier(), "chain", 1)
    several = {
        verifier: mean_efficiency(verifier(), "paths", 2)
        for verifier in (MultiRoundVerifier, SpectrVerifier, SpectrGbvVerifier, GbvVerifier)
    }
    assert token_wise < block < several[MultiRoundVerifier]
    assert several[MultiRoundVerifier] < several[SpectrVerifier] < several[SpectrGbvVerifier]
    assert several[SpectrVerifier] < several[GbvVerifier]


@pytest.mark.parametrize("verifier", [SpectrGbvVerifier, GbvVerifier])
def test_with_one_path_they_are_block_verification(verifier: type[Verifier]) -> None:
    assert mean_efficiency(verifier(), "chain", 1) == pytest.approx(
        mean_efficiency(BlockVerifier(), "chain", 1), abs=1e-6
    )
