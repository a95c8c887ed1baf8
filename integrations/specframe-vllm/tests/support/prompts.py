"""Prompts for the tiny model."""

from __future__ import annotations

import random

from tiny_checkpoints import VOCAB_SIZE


def random_prompts(
    seed: int = 0, lengths: tuple[int, ...] = (5, 1, 40, 17, 90, 3)
) -> list[dict[str, list[int]]]:
    """Return prompts of random tokens."""
    source = random.Random(seed)
    return [{"prompt_token_ids": [source.randrange(3, VOCAB_SIZE) for _ in range(n)]} for n in lengths]
