"""The target's hidden states for data that holds only tokens: computed when needed, or once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from attrs import evolve, frozen

from specframe.target import Target
from specframe_plugins.drafters.eagle.training.packed import Segment, packed_pass
from specframe_plugins.drafters.eagle.training.shards import (
    Sequence as Conversation,
)
from specframe_plugins.drafters.eagle.training.shards import (
    ShardSet,
    features_path,
    save_atomically,
)

# Tokens of one pass; more saves nothing and needs memory.
_AT_ONCE = 4096


@frozen
class TrainingData:
    """Conversations together with the target's features.

    Attributes:
        shards: the conversations, with or without kept features.
        target: computes those that were not kept.
    """

    shards: ShardSet
    target: Target

    def load(self, numbers: Sequence[int]) -> list[Conversation]:
        """Reads conversations; their features are never None."""
        found = [self.shards[number] for number in numbers]
        missing = [order for order, sequence in enumerate(found) if sequence.features is None]
        for order, sequence in zip(
            missing, with_features(self.target, [found[order] for order in missing]), strict=True
        ):
            found[order] = sequence
        return found


def with_features(target: Target, sequences: Sequence[Conversation]) -> Iterator[Conversation]:
    """Yields the conversations with the target's features [T, H], computed in packed passes."""
    batch: list[Conversation] = []
    for sequence in sequences:
        if batch and sum(len(kept.tokens) for kept in batch) + len(sequence.tokens) > _AT_ONCE:
            yield from _one_pass(target, batch)
            batch = []
        batch.append(sequence)
    if batch:
        yield from _one_pass(target, batch)


def _one_pass(target: Target, batch: list[Conversation]) -> Iterator[Conversation]:
    segments = [Segment(row, 0, sequence.tokens.tolist()) for row, sequence in enumerate(batch)]
    # Out of inference mode: the features take part in a training.
    hidden = packed_pass(target, segments).cpu().clone()
    lengths = [len(sequence.tokens) for sequence in batch]
    for sequence, features in zip(batch, hidden.split(lengths), strict=True):
        yield evolve(sequence, features=features)


def keep_features(shards: ShardSet, target: Target, report: Callable[[int], None]) -> None:
    """Writes the features of every shard that has none beside it, a shard at a time.

    Args:
        shards: the data; to be opened again afterwards.
        target: the loaded target.
        report: called with the number of tokens that have features.
    """
    done = 0
    for shard in shards.shards:
        if shard.features is None:
            sequences = with_features(target, list(shard))
            features = [sequence.features for sequence in sequences if sequence.features is not None]
            save_atomically({"features": torch.cat(features)}, features_path(shard.path), shard.metadata)
        done += len(shard.tokens)
        report(done)
