"""Conversations to batches: similar lengths together, in an order that only seed and epoch determine."""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor

from specframe_plugins.training.features import TrainingData
from specframe_plugins.training.shards import Sequence

_POOL = 16


@frozen
class Batch:
    """Padded conversations.

    Attributes:
        tokens: [B, T] int64.
        roles: [B, T] uint8, FORCED where padded, so that padding carries no loss.
        features: [B, T, H].
        inputs: what the head reads [B, T, F]: features of layers, or `features`.
    """

    tokens: Tensor
    roles: Tensor
    features: Tensor
    inputs: Tensor


def collate(sequences: list[Sequence]) -> Batch:
    """Pads conversations on the right; they have features."""

    def pad(tensors: list[Tensor]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)

    features = pad([s.features for s in sequences if s.features is not None])
    of_layers = [s.layer_features for s in sequences if s.layer_features is not None]
    return Batch(
        tokens=pad([sequence.tokens.long() for sequence in sequences]),
        roles=pad([sequence.roles for sequence in sequences]),
        features=features,
        inputs=pad(of_layers) if of_layers else features,
    )


def plan_epoch(lengths: dict[int, int], batch_tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """Says which conversations form which batch.

    Conversations are shuffled, then sorted by length within pools of a few batches, so that padding is
    small and batches still mix.

    Args:
        lengths: tokens of each conversation, by its number.
        batch_tokens: most tokens of a batch, padding included.
        seed: of the training.
        epoch: each has another order.
    """
    rng = random.Random(f"{seed}-{epoch}")
    numbers = sorted(lengths)
    rng.shuffle(numbers)
    mean = max(1, sum(lengths.values()) // max(1, len(lengths)))
    pool = _POOL * max(1, batch_tokens // mean)
    plan: list[list[int]] = []
    for start in range(0, len(numbers), pool):
        batch: list[int] = []
        for number in sorted(numbers[start : start + pool], key=lengths.__getitem__):
            if batch and (len(batch) + 1) * lengths[number] > batch_tokens:
                plan.append(batch)
                batch = []
            batch.append(number)
        plan.append(batch)
    rng.shuffle(plan)
    return plan


def load_batches(data: TrainingData, plan: list[list[int]], start: int = 0) -> Iterator[Batch]:
    """Reads the batches of a plan, beginning with batch `start`."""
    for numbers in plan[start:]:
        yield collate(data.load(numbers))
