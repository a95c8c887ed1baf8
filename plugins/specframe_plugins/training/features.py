"""The target's hidden states for data that holds only tokens: computed when needed, or once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from attrs import evolve, frozen

from specframe.model.target import Target
from specframe_plugins.training.packed import Segment, packed_pass
from specframe_plugins.training.shards import Sequence as Conversation
from specframe_plugins.training.shards import Shard, ShardSet, features_path, save_atomically

# Tokens of one pass; more saves nothing and needs memory.
_AT_ONCE = 4096


@frozen
class TrainingData:
    """Conversations together with the target's features.

    Attributes:
        shards: the conversations, with or without kept features.
        target: computes those that were not kept.
        layers: whose inputs the head reads; with none, it reads the features themselves.
    """

    shards: ShardSet
    target: Target
    layers: tuple[int, ...] = ()

    def load(self, numbers: Sequence[int]) -> list[Conversation]:
        """Reads conversations with their features, and with those of the layers if there are any."""
        found = [self.shards[number] for number in numbers]
        missing = [order for order, sequence in enumerate(found) if not self._complete(sequence)]
        computed = with_features(self.target, [found[order] for order in missing], self.layers)
        for order, sequence in zip(missing, computed, strict=True):
            found[order] = sequence
        return found

    def _complete(self, sequence: Conversation) -> bool:
        return sequence.features is not None and not (self.layers and sequence.layer_features is None)


def with_features(
    target: Target, sequences: Sequence[Conversation], layers: tuple[int, ...] = ()
) -> Iterator[Conversation]:
    """Yields the conversations with features [T, H] and those of some layers [T, F], from packed passes."""
    batch: list[Conversation] = []
    for sequence in sequences:
        if batch and sum(len(kept.tokens) for kept in batch) + len(sequence.tokens) > _AT_ONCE:
            yield from _one_pass(target, batch, layers)
            batch = []
        batch.append(sequence)
    if batch:
        yield from _one_pass(target, batch, layers)


def _one_pass(target: Target, batch: list[Conversation], layers: tuple[int, ...]) -> Iterator[Conversation]:
    segments = [Segment(row, 0, sequence.tokens.tolist()) for row, sequence in enumerate(batch)]
    # Out of inference mode: the features take part in a training.
    hidden, of_layers = (states.cpu().clone() for states in packed_pass(target, segments, layers=layers))
    lengths = [len(sequence.tokens) for sequence in batch]
    parts = zip(hidden.split(lengths), of_layers.split(lengths), strict=True)
    for sequence, (features, layer_features) in zip(batch, parts, strict=True):
        yield evolve(sequence, features=features, layer_features=layer_features if layers else None)


def keep_features(
    shards: ShardSet, target: Target, report: Callable[[int], None], layers: tuple[int, ...] = ()
) -> None:
    """Writes the features of every shard that has none beside it, a shard at a time.

    Args:
        shards: the data; to be opened again afterwards.
        target: the loaded target.
        report: called with the number of tokens that have features.
        layers: whose features are to be kept as well.
    """
    done = 0
    for shard in shards.shards:
        if not shard.has_features(layers):
            _keep(shard, list(with_features(target, list(shard), layers)), layers)
        done += len(shard.tokens)
        report(done)


def _keep(shard: Shard, sequences: list[Conversation], layers: tuple[int, ...]) -> None:
    """Writes what the shard has not yet."""
    if shard.features is None:
        found = [sequence.features for sequence in sequences if sequence.features is not None]
        save_atomically({"features": torch.cat(found)}, features_path(shard.path), shard.metadata)
    if layers:
        found = [sequence.layer_features for sequence in sequences if sequence.layer_features is not None]
        save_atomically({"features": torch.cat(found)}, features_path(shard.path, layers), shard.metadata)
