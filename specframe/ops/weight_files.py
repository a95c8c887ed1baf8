"""Tensors of safetensors files, read piece by piece: what was read need not stay in memory."""

from __future__ import annotations

import json
import mmap
import os
import weakref
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import attrs
import torch
from torch import Tensor

# Where files can be read at an offset, and mapped pages be given back.
SUPPORTED = os.name == "posix"

_BLOCK = 8 << 20  # numbers that are converted at once

_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@attrs.frozen(slots=True)
class _Place:
    """Where a tensor lies: in which file, from which byte on."""

    file: int
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class WeightFiles:
    """Named float tensors of safetensors files, mapped into memory.

    Pages of a mapped file count as the process's own once they are touched. ``release`` gives them back; a
    tensor that is used afterwards reads them again.

    Args:
        paths: the files; every name is in one of them.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is no safetensors file, is cut off, or holds a tensor of another dtype.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self._descriptors: list[int] = []
        self._maps: list[mmap.mmap] = []
        self._places: dict[str, _Place] = {}
        weakref.finalize(self, _close, self._descriptors)
        for index, path in enumerate(self.paths):
            self._descriptors.append(os.open(path, os.O_RDONLY))
            # A private mapping, which torch may take for writable; nothing is written.
            self._maps.append(mmap.mmap(self._descriptors[-1], 0, access=mmap.ACCESS_COPY))
            self._places |= dict(_places(index, self._maps[-1]))

    @property
    def names(self) -> frozenset[str]:
        """Names of the tensors."""
        return frozenset(self._places)

    @property
    def elements(self) -> int:
        """How many numbers all tensors have together."""
        return sum(torch.Size(place.shape).numel() for place in self._places.values())

    def tensor(self, name: str) -> Tensor:
        """Return a tensor as it is stored; its memory is that of the mapped file."""
        place = self._places[name]
        count = torch.Size(place.shape).numel()
        mapped = self._maps[place.file]
        return torch.frombuffer(mapped, dtype=place.dtype, count=count, offset=place.offset).view(place.shape)

    def converted(self, stored: Tensor, dtype: torch.dtype) -> Tensor:
        """Return a tensor of these files in a dtype; one that has it is returned as it is."""
        if stored.dtype == dtype:
            return stored
        copy = torch.empty(stored.shape, dtype=dtype)
        blocks = zip(copy.view(-1).split(_BLOCK), stored.view(-1).split(_BLOCK), strict=True)
        for into, block in blocks:
            into.copy_(block)
            self.release()
        return copy

    def rows(self, name: str, dtype: torch.dtype) -> FileRows:
        """Return a matrix whose rows are read one by one, in another dtype."""
        place = self._places[name]
        return FileRows(self, self._descriptors[place.file], place.offset, self.tensor(name), dtype)

    def release(self) -> None:
        """Give back the pages that were touched; the mapped tensors stay usable."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)


class FileRows:
    """A matrix [V, H] in a file, in the dtype that it is wanted in.

    A row is read with a system call of its own: touching mapped rows would bring in whole neighbourhoods.

    Args:
        files: keeps the file open.
        descriptor: of the file.
        offset: first byte of the matrix.
        stored: the mapped matrix.
        dtype: what rows are returned in.
    """

    device = torch.device("cpu")

    def __init__(
        self, files: WeightFiles, descriptor: int, offset: int, stored: Tensor, dtype: torch.dtype
    ) -> None:
        self._files, self._descriptor, self._offset, self._stored = files, descriptor, offset, stored
        self.shape = stored.shape
        self.dtype = dtype

    def __len__(self) -> int:
        return self.shape[0]

    def at(self, ids: Tensor) -> Tensor:
        """Return the rows of ``ids`` [...] as [..., H].

        Raises:
            IndexError: an id is negative or beyond the last row.
        """
        indices = ids.reshape(-1).tolist()
        if not indices:
            return torch.empty(*ids.shape, self.shape[1], dtype=self.dtype)
        if not 0 <= min(indices) <= max(indices) < len(self):
            raise IndexError(f"row {min(indices)} to {max(indices)} of {len(self)}")
        size = self.shape[1] * self._stored.element_size()
        read = bytearray(len(indices) * size)
        view = memoryview(read)
        for at, index in enumerate(indices):
            place = self._offset + index * size
            if os.preadv(self._descriptor, [view[at * size : (at + 1) * size]], place) != size:
                raise OSError("the file of the weights has become shorter")
        rows = torch.frombuffer(read, dtype=self._stored.dtype)
        return rows.view(*ids.shape, self.shape[1]).to(self.dtype)

    @cached_property
    def whole(self) -> Tensor:
        """The matrix [V, H], in memory from now on where its dtype is another than the file's."""
        return self._stored.to(self.dtype)


def _places(file: int, mapped: mmap.mmap) -> Iterator[tuple[str, _Place]]:
    """Yield the name of every tensor of a safetensors file, and where it lies."""
    begin = 8 + int.from_bytes(mapped[:8], "little")
    if begin > len(mapped):
        raise ValueError("no safetensors file")
    entries = json.loads(mapped[8:begin])
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        if begin + last > len(mapped):
            raise ValueError("a cut-off safetensors file")
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name} has dtype {entry['dtype']}")
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        if last - first != torch.Size(shape).numel() * dtype.itemsize:
            raise ValueError(f"{name} has another size than its shape says")
        yield name, _Place(file, begin + first, dtype, shape)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
