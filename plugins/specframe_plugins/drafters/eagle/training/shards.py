"""Generated conversations on disk: safetensors shards, read through memory maps.

A shard is written to a temporary file and renamed, so that an interruption loses the open shard and never
leaves half of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from attrs import define, field, frozen
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

FORCED, USER, ANSWER = 0, 1, 2


@frozen
class Sequence:
    """One conversation.

    Attributes:
        index: which conversation of the seed it is.
        tokens: ids, int32 [T].
        roles: FORCED (template or opening), USER or ANSWER, uint8 [T].
        features: the target's last hidden state after the final norm, at each token, [T, H].
    """

    index: int
    tokens: Tensor
    roles: Tensor
    features: Tensor


@define
class ShardWriter:
    """Collects conversations and writes them away as shards.

    Attributes:
        folder: where the shards go.
        worker: number of the generating process; keeps file names apart.
        tokens_per_shard: a shard is closed once it has this many tokens.
        metadata: kept in every shard, to refuse data of another target.
    """

    folder: Path
    worker: int
    tokens_per_shard: int
    metadata: dict[str, str]
    _open: list[Sequence] = field(factory=list, init=False)

    def add(self, sequence: Sequence) -> None:
        """Takes one finished conversation."""
        self._open.append(sequence)
        if sum(len(kept.tokens) for kept in self._open) >= self.tokens_per_shard:
            self.flush()

    def flush(self) -> None:
        """Closes the open shard, if it holds anything."""
        if not self._open:
            return
        lengths = torch.tensor([0] + [len(sequence.tokens) for sequence in self._open])
        tensors = {
            "tokens": torch.cat([sequence.tokens for sequence in self._open]),
            "roles": torch.cat([sequence.roles for sequence in self._open]),
            "features": torch.cat([sequence.features for sequence in self._open]),
            "offsets": lengths.cumsum(0),
            "indices": torch.tensor([sequence.index for sequence in self._open]),
        }
        # Named by its first conversation: unique, whatever the number of workers was before.
        path = self.folder / f"shard-{self.worker:02d}-{self._open[0].index:08d}.safetensors"
        partial = path.with_suffix(f".partial{os.getpid()}")
        save_file(tensors, partial, metadata=self.metadata)
        partial.replace(path)
        self._open.clear()


@define
class ShardSet:
    """All finished shards of a folder, opened as memory maps.

    Attributes:
        paths: the shard files, sorted by name.
    """

    paths: list[Path]
    # safetensors ships no types.
    _files: list[Any] = field(factory=list, init=False)
    _where: list[tuple[int, int, int]] = field(factory=list, init=False)
    indices: list[int] = field(factory=list, init=False)

    @classmethod
    def open(cls, folder: Path) -> ShardSet:
        """Opens every finished shard of a folder."""
        shards = cls(sorted(folder.glob("shard-*.safetensors")))
        for number, path in enumerate(shards.paths):
            file: Any = safe_open(path, framework="pt")
            offsets = file.get_tensor("offsets").tolist()
            shards._files.append(file)
            shards._where += [(number, a, b) for a, b in pairwise(offsets)]
            shards.indices += file.get_tensor("indices").tolist()
        return shards

    def __len__(self) -> int:
        return len(self._where)

    def length(self, number: int) -> int:
        """Number of tokens of a conversation."""
        _, start, stop = self._where[number]
        return stop - start

    @property
    def token_count(self) -> int:
        """Number of tokens of all conversations."""
        return sum(stop - start for _, start, stop in self._where)

    def __getitem__(self, number: int) -> Sequence:
        shard, start, stop = self._where[number]
        file = self._files[shard]
        return Sequence(
            index=self.indices[number],
            tokens=file.get_slice("tokens")[start:stop],
            roles=file.get_slice("roles")[start:stop],
            features=file.get_slice("features")[start:stop],
        )

    def __iter__(self) -> Iterator[Sequence]:
        return (self[number] for number in range(len(self)))

    def metadata(self) -> dict[str, str]:
        """What the shards say about their target; empty when there are none."""
        return dict(self._files[0].metadata() or {}) if self._files else {}
