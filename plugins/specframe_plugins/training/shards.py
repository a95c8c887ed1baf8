"""Conversations on disk: compact safetensors shards of token ids.

A token takes two bytes where the vocabulary has at most 65,536, four otherwise; roles are kept as runs.
Hidden states are no part of the data, since the target can always compute them again; a generation that has
them anyway may keep them in a second file beside the shard. Every file is written under another name and
renamed: an interruption never leaves half of anything.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from attrs import define, evolve, field, frozen
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from specframe.errors import CheckpointError, UsageError

FORCED, USER, ANSWER = 0, 1, 2

_FEATURES = ".features.safetensors"
_SMALL_VOCABULARY = 2**16
_TENSORS = ("tokens", "run_roles", "run_lengths", "offsets", "indices")


@frozen
class Sequence:
    """One conversation.

    Attributes:
        index: which conversation of the seed it is.
        tokens: ids, int32 [T].
        roles: FORCED (template or opening), USER or ANSWER, uint8 [T].
        features: the target's last hidden state after the final norm, at each token, [T, H]; None where they
            were not kept.
        layer_features: hidden states of some layers side by side [T, F]; None where a head reads `features`,
            and where they were not kept.
    """

    index: int
    tokens: Tensor
    roles: Tensor
    features: Tensor | None = None
    layer_features: Tensor | None = None


def save_atomically(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes a safetensors file beside its place and renames it."""
    partial = path.with_suffix(f".partial{os.getpid()}")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


@define
class ShardWriter:
    """Collects conversations and writes them away as shards.

    Attributes:
        folder: where the shards go.
        worker: number of the generating process; keeps file names apart.
        tokens_per_shard: a shard is closed once it has this many tokens.
        vocab_size: of the target; decides how wide a token is stored.
        metadata: kept in every shard: the target, and the settings that determine every conversation.
        keep_features: write the features beside the shard.
    """

    folder: Path
    worker: int
    tokens_per_shard: int
    vocab_size: int
    metadata: dict[str, str]
    keep_features: bool = False
    _open: list[Sequence] = field(factory=list, init=False)

    def add(self, sequence: Sequence) -> None:
        """Takes one finished conversation, which is on disk when this returns."""
        self.collect(sequence)
        if self._open:
            self._write()

    def collect(self, sequence: Sequence) -> None:
        """Takes a conversation that is safe elsewhere; it is written with the whole shard."""
        self._open.append(sequence if self.keep_features else evolve(sequence, features=None))
        if sum(len(kept.tokens) for kept in self._open) >= self.tokens_per_shard:
            self.close()

    def close(self) -> None:
        """Closes the open shard, if it holds anything; only then are features written, as they are large."""
        features = [sequence.features for sequence in self._open if sequence.features is not None]
        if features:
            save_atomically({"features": torch.cat(features)}, features_path(self._path), self.metadata)
        if self._open:
            self._write()
            self._open.clear()

    @property
    def _path(self) -> Path:
        # The origin keeps data of several seeds apart, the first conversation shards of one.
        first = self._open[0].index
        return self.folder / f"shard-{origin_name(self.metadata)}-{self.worker:02d}-{first:08d}.safetensors"

    def _write(self) -> None:
        """Writes the tokens of the open shard over what was there of it."""
        lengths = torch.tensor([0] + [len(sequence.tokens) for sequence in self._open])
        roles, run_lengths = torch.cat([sequence.roles for sequence in self._open]).unique_consecutive(
            return_counts=True
        )
        narrow = torch.uint16 if self.vocab_size <= _SMALL_VOCABULARY else torch.int32
        tensors = {
            "tokens": torch.cat([sequence.tokens for sequence in self._open]).to(narrow),
            "run_roles": roles,
            "run_lengths": run_lengths.to(torch.int32),
            "offsets": lengths.cumsum(0),
            "indices": torch.tensor([sequence.index for sequence in self._open]),
        }
        save_atomically(tensors, self._path, self.metadata)


def origin(metadata: dict[str, str]) -> dict[str, str]:
    """What decides which text a conversation's number stands for: everything but how the target is called."""
    return {name: value for name, value in metadata.items() if name != "target"}


def origin_name(metadata: dict[str, str]) -> str:
    """A short name for an origin."""
    text = "\n".join(f"{name}={value}" for name, value in sorted(origin(metadata).items()))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def features_path(shard: Path, layers: tuple[int, ...] = ()) -> Path:
    """Where the features of a shard are kept, or those of some layers."""
    of_layers = ".layers-" + "-".join(map(str, layers)) if layers else ""
    return shard.with_name(shard.name.removesuffix(".safetensors") + of_layers + _FEATURES)


def shard_paths(folder: Path) -> list[Path]:
    """Every finished shard of a folder, sorted by name."""
    return sorted(path for path in folder.glob("shard-*.safetensors") if not path.name.endswith(_FEATURES))


@frozen
class Shard:
    """One opened file.

    Attributes:
        path: where it is.
        tokens: of all its conversations [n], as stored.
        roles: of every token [n].
        offsets: where each conversation starts, and the end.
        indices: of each conversation.
        features: memory map of the features; None when none were kept. safetensors ships no types.
        layer_features: likewise of those of some layers.
        metadata: what the shard says about itself.
    """

    path: Path
    tokens: Tensor
    roles: Tensor
    offsets: list[int]
    indices: list[int]
    features: Any
    layer_features: Any
    metadata: dict[str, str]

    @classmethod
    def open(cls, path: Path, layers: tuple[int, ...] = ()) -> Shard:
        """Reads the tokens of a shard, and maps its features, and those of some layers of the target.

        Raises:
            CheckpointError: a file is damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tokens, roles, lengths, offsets, indices = map(file.get_tensor, _TENSORS)
                metadata = dict(file.metadata() or {})
            features = _mapped(features_path(path))
            layer_features = _mapped(features_path(path, layers)) if layers else None
        except SafetensorError as error:
            raise CheckpointError(f"{path} is damaged or no shard ({error}); delete it") from None
        roles = roles.repeat_interleave(lengths)
        return cls(
            path, tokens, roles, offsets.tolist(), indices.tolist(), features, layer_features, metadata
        )

    def has_features(self, layers: tuple[int, ...]) -> bool:
        """Whether everything is kept that a head of these layers needs."""
        return self.features is not None and (not layers or self.layer_features is not None)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Sequence]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Sequence:
        part = slice(self.offsets[number], self.offsets[number + 1])
        return Sequence(
            index=self.indices[number],
            tokens=self.tokens[part].to(torch.int32),
            roles=self.roles[part],
            features=self.features.get_slice("features")[part] if self.features else None,
            layer_features=self.layer_features.get_slice("features")[part] if self.layer_features else None,
        )


def _mapped(path: Path) -> Any:
    return safe_open(path, framework="pt") if path.exists() else None


@define
class ShardSet:
    """All finished shards of one or several folders, as one list of conversations.

    Attributes:
        shards: the opened files.
    """

    shards: list[Shard]
    _where: list[tuple[Shard, int]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._where = [(shard, number) for shard in self.shards for number in range(len(shard))]

    @classmethod
    def open(cls, *folders: Path, layers: tuple[int, ...] = ()) -> ShardSet:
        """Opens every finished shard of some folders; see `Shard.open`."""
        return cls([Shard.open(path, layers) for folder in folders for path in shard_paths(folder)])

    def only(self, metadata: dict[str, str]) -> ShardSet:
        """The shards of one origin."""
        return ShardSet([shard for shard in self.shards if origin(shard.metadata) == origin(metadata)])

    @property
    def indices(self) -> list[int]:
        """Of every conversation; unique within an origin."""
        return [shard.indices[number] for shard, number in self._where]

    @property
    def token_count(self) -> int:
        """Number of tokens of all conversations."""
        return sum(len(shard.tokens) for shard in self.shards)

    def length(self, number: int) -> int:
        """Number of tokens of a conversation."""
        shard, inside = self._where[number]
        return shard.offsets[inside + 1] - shard.offsets[inside]

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, number: int) -> Sequence:
        shard, inside = self._where[number]
        return shard[inside]

    def __iter__(self) -> Iterator[Sequence]:
        return (self[number] for number in range(len(self)))


def check_data_folder(folder: Path) -> None:
    """Raises `UsageError` for a folder that holds something of others, and no data."""
    if not folder.is_dir() or ShardSet.open(folder).token_count:
        return
    # What a process that was killed leaves is ours.
    if not all(left.name.startswith(("shard-", "generation_s")) for left in folder.iterdir()):
        raise UsageError(
            f"data {folder} holds something else than conversations; allowed: an empty folder, too"
        )
