"""What a target samples, exactly, and how far samples may be from it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

PROMPT = [17, 400, 33, 912, 5]
TEMPERATURE = 0.5
# Beyond this the statistic lies once in 10,000 runs where the distribution is the target's.
QUANTILE = 1 - 1e-4


def second_token(model_folder: Path) -> Tensor:
    """Return the distribution of the second token after the prompt, over all first ones [V]."""
    kind: Any = AutoModelForCausalLM
    model = kind.from_pretrained(model_folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        prompt = torch.tensor([PROMPT])
        first = (model(prompt).logits[0, -1] / TEMPERATURE).softmax(dim=-1)
        likely = first.argsort(descending=True)[:400]
        rows = torch.cat([prompt.expand(len(likely), -1), likely[:, None]], dim=1)
        second = (model(rows).logits[:, -1] / TEMPERATURE).softmax(dim=-1)
        mixed = first[likely] @ second
    assert first[likely].sum() > 0.999
    return mixed / mixed.sum()


def is_far(samples: list[int], expected: Tensor) -> bool:
    """Return whether the chi-square statistic of samples is one that the distribution [V] hardly brings."""
    return _statistic(Counter(samples), expected, len(samples)) > _limit(expected, len(samples))


def _bins(expected: Tensor, samples: int) -> list[int]:
    """Return the tokens with bins of their own: those that are expected ten times or more."""
    return (expected * samples >= 10).nonzero().flatten().tolist()


def _statistic(counts: Counter[int], expected: Tensor, samples: int) -> float:
    """Return the chi-square statistic; rare tokens share a bin."""
    own = _bins(expected, samples)
    probabilities = [float(expected[token]) for token in own]
    found = [counts[token] for token in own]
    rest = 1 - sum(probabilities)
    pairs = [*zip(found, probabilities, strict=True), (samples - sum(found), rest)]
    return sum((count - samples * p) ** 2 / (samples * p) for count, p in pairs)


def _limit(expected: Tensor, samples: int) -> float:
    """Return the quantile of the statistic, by Wilson and Hilferty's approximation."""
    degrees = len(_bins(expected, samples))
    z = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(QUANTILE)))
    return degrees * (1 - 2 / (9 * degrees) + z * (2 / (9 * degrees)) ** 0.5) ** 3
