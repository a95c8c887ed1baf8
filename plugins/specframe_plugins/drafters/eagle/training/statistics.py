"""What the trainer needs to know about the data as a whole, in one reading."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from specframe_plugins.drafters.eagle.training.shards import FORCED, ShardSet

_HELD_OUT_EVERY = 40


@frozen
class DataStatistics:
    """Counts and scale.

    Attributes:
        counts: how often the target wrote each id [V] int64.
        feature_scale: root mean square of the features.
        written_tokens: how many tokens the target wrote.
    """

    counts: Tensor
    feature_scale: float
    written_tokens: int

    def frequent(self, count: int) -> Tensor:
        """The most frequent ids, at most `count`; ids that never occurred fill up."""
        return self.counts.argsort(descending=True, stable=True)[:count]


def read_statistics(shards: ShardSet, numbers: list[int], vocab_size: int) -> DataStatistics:
    """Reads tokens of all given conversations, and features of some."""
    counts = torch.zeros(vocab_size, dtype=torch.int64)
    squares, values = 0.0, 0
    for order, number in enumerate(numbers):
        sequence = shards[number]
        written = sequence.tokens[sequence.roles != FORCED].long()
        counts += torch.bincount(written, minlength=vocab_size)
        if order < 256:
            squares += sequence.features.double().square().sum().item()
            values += sequence.features.numel()
    return DataStatistics(counts, (squares / max(values, 1)) ** 0.5, int(counts.sum()))


def split(shards: ShardSet) -> tuple[list[int], list[int]]:
    """Numbers of the conversations to train on, and of those held out.

    The conversation's index decides, so that data that is added later changes no side.
    """
    held_out = [n for n, index in enumerate(shards.indices) if index % _HELD_OUT_EVERY == 0]
    training = [n for n, index in enumerate(shards.indices) if index % _HELD_OUT_EVERY]
    return training, held_out
