"""Seeded generations of a tiny transformers model, drawn trees and all, follow the model's own distribution.

What the verifiers do alone is tested exactly elsewhere; here the active set of ``nanospec`` changes at every
step, and prefill, caches, drafter, processors and verifier work together.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs
import pytest
import torch
from own_distribution import own_distribution
from tiny_models import tiny_model, tiny_target
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from specframe.config import RunConfig
from specframe.contracts.sampling import SamplingParams
from specframe.engine.assembly import build_engine
from specframe.model.target import Target
from specframe.testing.exact_sampling import fit_to
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

VOCAB_SIZE, LENGTH, GENERATIONS = 8, 4, 300
PROMPT = torch.tensor([5, 3, 6, 3])
# Any two tokens stand side by side somewhere: whatever comes next, it came before.
EVERY_PAIR = torch.tensor([id for a in range(VOCAB_SIZE) for b in range(a, VOCAB_SIZE) for id in (a, b)])


@pytest.fixture(scope="module")
def target() -> Target:
    target = tiny_target(
        "llama", vocab_size=VOCAB_SIZE, num_hidden_layers=1, hidden_size=16, intermediate_size=16
    )
    target.stop_ids = frozenset()
    return target


@pytest.mark.parametrize(
    ("verifier", "parameters", "prompt", "adapt"),
    [
        ("multi-round", {"top_k": 2, "repetition_penalty": 1.4}, PROMPT, "off"),
        ("spectr-gbv", {"top_p": 0.4}, PROMPT, "off"),
        ("gbv", {"top_k": 2}, PROMPT, "off"),
        ("sampling", {"top_k": 3}, EVERY_PAIR, "off"),
        ("multi-round", {"top_k": 3}, PROMPT, "on"),
    ],
    ids=["multi-round", "spectr-gbv", "gbv", "sampling with copied paths", "multi-round, a head that learns"],
)
def test_generations_follow_the_models_own_distribution(
    target: Target,
    verifier: str,
    parameters: dict[str, float],
    prompt: Tensor,
    adapt: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    torch.manual_seed(3)
    head = tmp_path_factory.mktemp("tiny") / "head"
    save_head(EagleHead(EagleConfig.for_target(target.config)), head)
    config = RunConfig(
        strategy="nanospec",
        verifier=verifier,
        dtype="float32",
        warm="shared" if adapt == "on" else "off",
        sampling=SamplingParams(temperature=1.5, **parameters),  # type: ignore[arg-type]
        options={
            "vocabulary": {"capacity": VOCAB_SIZE - 3},
            "drafter": {
                "checkpoint": str(head),
                "depth": 2,
                "branching": 2,
                "nodes": 5,
                "adapt": adapt,
            },
        },
    )
    engine = build_engine(attrs.evolve(config, max_new_tokens=LENGTH), target=target)
    seeded = (attrs.evolve(config.sampling, seed=seed) for seed in range(GENERATIONS))
    counts = Counter(tuple(engine.generate(prompt, sampling=sampling).token_ids) for sampling in seeded)
    fit = fit_to(counts, own_distribution(target, config.sampling, prompt, LENGTH))
    assert fit.p_value > 1e-3, fit
    assert any(step.tree_nodes > 5 for step in engine.steps) == (prompt is EVERY_PAIR)


def other_tokenizer(path: Path) -> str:
    """Write a draft model with another tokenizer, whose ids mean other words of the target, and some none."""
    words = ["<eos>", "w6", "w5", "w9", "w3", "w4", "<unk>"]
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained(path)
    tiny_model(vocab_size=len(words), eos_token_id=0, seed=5).save_pretrained(path)
    return str(path)


@pytest.mark.parametrize(
    ("tokens", "tree", "verifier"),
    [
        ("intersection", "chain", "multi-round"),
        ("intersection", "without-replacement", "multi-round"),
        ("strings", "top-k", "sampling"),
    ],
)
def test_a_draft_model_of_other_tokens_leaves_the_targets_own_distribution(
    target: Target, tokens: str, tree: str, verifier: str, tmp_path: Path
) -> None:
    drafter = {"model": other_tokenizer(tmp_path), "tokens": tokens, "tree": tree, "depth": 2, "nodes": 4}
    config = RunConfig(
        strategy="full",
        drafter="draft-model",
        verifier=verifier,
        dtype="float32",
        max_new_tokens=LENGTH,
        sampling=SamplingParams(temperature=1.5, top_k=3),
        options={"drafter": drafter | {"branching": 1 if tokens == "strings" else 2, "lookup": 0}},
    )
    engine = build_engine(config, target=target)
    seeded = (attrs.evolve(config.sampling, seed=seed) for seed in range(GENERATIONS))
    reports = [engine.generate(PROMPT, sampling=sampling) for sampling in seeded]
    counts = Counter(tuple(report.token_ids) for report in reports)
    fit = fit_to(counts, own_distribution(target, config.sampling, PROMPT, LENGTH))
    assert fit.p_value > 1e-3, fit
    assert sum(report.target_passes for report in reports) < GENERATIONS * (LENGTH - 1), "no draft ever hit"
