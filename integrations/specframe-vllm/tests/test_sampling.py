"""Sampled tokens are distributed as the target's, whatever the active set leaves out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import drafting_in, engine
from torch import Tensor
from transformers import AutoModelForCausalLM
from vllm import SamplingParams

PROMPT = [17, 400, 33, 912, 5]
TEMPERATURE = 0.5
# With so many samples a distribution that is 0.1 away in total variation fails almost always.
SAMPLES = 3000
# Beyond this the statistic lies once in 10,000 runs where the distribution is the target's.
QUANTILE = 1 - 1e-4


@pytest.fixture(scope="module")
def expected(tiny: Path) -> Tensor:
    """The distribution of the second token after the prompt, over all first ones [V]."""
    kind: Any = AutoModelForCausalLM
    model = kind.from_pretrained(tiny, dtype=torch.float32).eval()
    with torch.inference_mode():
        prompt = torch.tensor([PROMPT])
        first = (model(prompt).logits[0, -1] / TEMPERATURE).softmax(dim=-1)
        likely = first.argsort(descending=True)[:400]
        rows = torch.cat([prompt.expand(len(likely), -1), likely[:, None]], dim=1)
        second = (model(rows).logits[:, -1] / TEMPERATURE).softmax(dim=-1)
        mixed = first[likely] @ second
    assert first[likely].sum() > 0.999
    return mixed / mixed.sum()


@pytest.mark.parametrize("drafts", ["greedy", "probabilistic"])
def test_the_first_drafted_token_has_the_targets_distribution(
    tiny: Path, expected: Tensor, drafts: str
) -> None:
    with engine(
        tiny,
        max_num_seqs=64,
        speculative_config={
            "method": "draft_model",
            "model": str(tiny),
            "num_speculative_tokens": 3,
            "draft_sample_method": drafts,
        },
        additional_config={"specframe": {"capacity": 256}},
    ) as llm:
        sampling = SamplingParams(temperature=TEMPERATURE, n=SAMPLES, max_tokens=4, ignore_eos=True, seed=11)
        [output] = llm.generate([{"prompt_token_ids": PROMPT}], sampling, use_tqdm=False)
        drafting = drafting_in(llm)
    assert drafting is not None
    assert drafting.head.calls > 0
    counts = Counter(answer.token_ids[1] for answer in output.outputs)
    assert statistic(counts, expected) < limit(expected)


def bins(expected: Tensor) -> list[int]:
    """Return the tokens with bins of their own: those that are expected ten times or more."""
    return (expected * SAMPLES >= 10).nonzero().flatten().tolist()


def statistic(counts: Counter[int], expected: Tensor) -> float:
    """Return the chi-square statistic; rare tokens share a bin."""
    own = bins(expected)
    probabilities = [float(expected[token]) for token in own]
    found = [counts[token] for token in own]
    rest = 1 - sum(probabilities)
    pairs = [*zip(found, probabilities, strict=True), (SAMPLES - sum(found), rest)]
    return sum((count - SAMPLES * p) ** 2 / (SAMPLES * p) for count, p in pairs)


def limit(expected: Tensor) -> float:
    """Return the quantile of the statistic, by Wilson and Hilferty's approximation."""
    degrees = len(bins(expected))
    z = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(QUANTILE)))
    return degrees * (1 - 2 / (9 * degrees) + z * (2 / (9 * degrees)) ** 0.5) ** 3
