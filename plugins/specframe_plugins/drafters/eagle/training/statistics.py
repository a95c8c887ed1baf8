"""What the trainer needs to know about the data as a whole, in one reading."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from specframe_plugins.drafters.eagle.training.features import TrainingData
from specframe_plugins.drafters.eagle.training.shards import FORCED, ShardSet

_HELD_OUT_EVERY = 40
_SAMPLE = 128


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


def read_statistics(data: TrainingData, numbers: list[int]) -> DataStatistics:
    """Reads tokens of all given conversations, and features of some."""
    vocab_size = data.target.vocab_size
    counts = torch.zeros(vocab_size, dtype=torch.int64)
    for number in numbers:
        sequence = data.shards[number]
        written = sequence.tokens[sequence.roles != FORCED].long()
        counts += torch.bincount(written, minlength=vocab_size)
    features = [s.features for s in data.load(numbers[:_SAMPLE]) if s.features is not None]
    scale = torch.cat(features).double().square().mean().sqrt().item() if features else 1.0
    return DataStatistics(counts, scale, int(counts.sum()))


def split(shards: ShardSet) -> tuple[list[int], list[int]]:
    """Numbers of the conversations to train on, and of those held out.

    The conversation's index decides, so that data that is added later changes no side.
    """
    held_out = [n for n, index in enumerate(shards.indices) if index % _HELD_OUT_EVERY == 0]
    training = [n for n, index in enumerate(shards.indices) if index % _HELD_OUT_EVERY]
    return training, held_out
