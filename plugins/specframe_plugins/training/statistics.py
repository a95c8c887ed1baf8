"""What the trainer needs to know about the data as a whole, in one reading."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from specframe_plugins.training.features import TrainingData
from specframe_plugins.training.shards import FORCED, ShardSet

_HELD_OUT_EVERY = 40
_SAMPLE = 128


@frozen
class DataStatistics:
    """Counts and scale.

    Attributes:
        counts: how often the target wrote each id [V] int64.
        feature_scale: root mean square of the features.
        input_scale: of what the head reads, layer by layer [F].
        written_tokens: how many tokens the target wrote.
    """

    counts: Tensor
    feature_scale: float
    input_scale: Tensor
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
    sample = data.load(numbers[:_SAMPLE])
    features = torch.cat([s.features for s in sample if s.features is not None])
    of_layers = [s.layer_features for s in sample if s.layer_features is not None]
    inputs, width = torch.cat(of_layers) if of_layers else features, features.shape[1]
    return DataStatistics(
        counts,
        feature_scale=_root_mean_square(features[:, None]).item(),
        input_scale=_root_mean_square(inputs.unflatten(1, (-1, width))).repeat_interleave(width),
        written_tokens=int(counts.sum()),
    )


def _root_mean_square(features: Tensor) -> Tensor:
    """Of every layer [L] float32, for features [n, L, H]."""
    return features.double().square().mean(dim=(0, 2)).sqrt().float()


def split(shards: ShardSet) -> tuple[list[int], list[int]]:
    """Numbers of the conversations to train on, and of those held out.

    The conversation's index decides, so that data that is added later changes no side.
    """
    held_out = [n for n, index in enumerate(shards.indices) if index % _HELD_OUT_EVERY == 0]
    training = [n for n, index in enumerate(shards.indices) if index % _HELD_OUT_EVERY]
    return training, held_out
