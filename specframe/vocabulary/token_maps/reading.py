"""Files of token maps, told apart by name and content, and checked against whose tokens they are about."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from specframe.errors import UsageError
from specframe.vocabulary.token_maps.frequencies import Owner, TokenFrequencies

# What bare numbers in a file are: token ids, or what each row's token id is beyond the row (EAGLE-3's d2t).
Holds = Literal["ids", "offsets"]

TOKEN_IDS, COUNTS, OFFSETS, HAS_ROW = "token_ids", "counts", "d2t", "t2d"
FINGERPRINT, SOURCE = "tokenizer_fingerprint", "source"
_OF_MAPS = (TOKEN_IDS, COUNTS, OFFSETS, HAS_ROW)

_ALLOWED = (
    "safetensors with token_ids and counts, d2t or t2d; a JSON object of id to count or list of ids by "
    "falling frequency; an index list of torch.save; .npy; a checkpoint's directory"
)


def read_map(path: Path, owner: Owner, holds: Holds | None = None) -> TokenFrequencies:
    """Return the token map in a file or in the directory of a checkpoint, checked against whose it is.

    Known are: safetensors with ``token_ids`` [n] by falling count and ``counts`` [n], and the metadata
    ``tokenizer_fingerprint`` and ``source``; safetensors, ``torch.save`` and ``.npy`` with EAGLE-3's ``d2t``
    [rows], the offset of each row's token id from the row, or ``t2d`` [V], which tokens have a row, both also
    in a whole checkpoint; a list or tensor of ids from ``torch.save``, as FR-Spec and SGLang have it; JSON,
    an object of id to count or a list of ids by falling frequency. Nothing pickled is ever run. Only
    safetensors have a fingerprint; of the others the range is checked.

    Args:
        path: of the file.
        owner: whose tokens it is about.
        holds: what bare integers are; None where the name of the file or of the tensor says it.

    Raises:
        UsageError: the file cannot be read, is cut off, is no map, or is one for another tokenizer.
    """
    try:
        found = _read(path, owner, holds)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except UsageError:
        raise
    except Exception as error:  # whatever readers raise for files of another kind, or cut off
        what = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"{path} holds no token frequencies ({what[:120].rstrip('.')}); allowed: {_ALLOWED}"
        ) from None
    found.check(str(path), owner.vocab_size)
    return found


def _read(path: Path, owner: Owner, holds: Holds | None) -> TokenFrequencies:
    """Return what is in a file, or in the first file of a directory that holds a map."""
    if path.is_dir():
        files = [file for suffix in _READERS for file in sorted(path.glob(f"*{suffix}")) if suffix != ".json"]
        for file in files:
            tensors, fingerprint, source = _READERS[file.suffix](file)
            if isinstance(tensors, dict) and tensors:
                return _found(tensors, fingerprint, source, file, owner, holds)
        raise ValueError("no file in it holds d2t, t2d or token_ids")
    reader = _READERS.get(path.suffix) or _by_content(path)
    return _found(*reader(path), path, owner, holds)


def _by_content(path: Path) -> Callable[[Path], tuple[Any, str | None, str]]:
    """Return the reader for a file whose name says nothing."""
    with path.open("rb") as file:
        first = file.read(16)
    if first[8:9] == b"{":
        return _safetensors
    if first.startswith(b"\x93NUMPY"):
        return _numpy
    if first.startswith((b"PK", b"\x80")):
        return _torch
    return _json


def _found(
    content: Any, fingerprint: str | None, source: str, path: Path, owner: Owner, holds: Holds | None
) -> TokenFrequencies:
    """Return the map that the content of a file is.

    Raises:
        UsageError: it is one of another tokenizer.
        ValueError, TypeError: it is none.
    """
    if fingerprint is not None and fingerprint != owner.tokenizer_fingerprint:
        raise UsageError(
            f"{path} was counted with tokenizer {fingerprint}, but {owner.name} has tokenizer "
            f"{owner.tokenizer_fingerprint}"
        )
    if isinstance(content, Mapping):
        named = {name: content[name] for name in _OF_MAPS if name in content}
        if any(isinstance(tensor, Tensor) for tensor in named.values()):
            return _from_tensors(named, source, path, owner, holds)
        ids = _integers([int(token_id) for token_id in content])
        return TokenFrequencies.by_count(ids, _integers(list(content.values())), source)
    if isinstance(content, list | tuple):
        content = _integers(list(content))
    if not isinstance(content, Tensor):
        raise TypeError("neither an object nor a list")
    if content.dtype == torch.bool:
        name = HAS_ROW
    elif OFFSETS in path.stem:
        name = OFFSETS
    else:
        name = TOKEN_IDS
    return _from_tensors({name: content}, source, path, owner, holds)


def _from_tensors(
    tensors: Mapping[str, Tensor], source: str, path: Path, owner: Owner, holds: Holds | None
) -> TokenFrequencies:
    """Return the map that named tensors are."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_meta:
            raise TypeError(f"{name} is no plain tensor")
        if tensor.is_floating_point() or tensor.is_complex() or tensor.ndim != 1:
            raise TypeError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not integers [n]")
    if TOKEN_IDS in tensors and holds != "offsets":
        counts = tensors.get(COUNTS)
        return TokenFrequencies(tensors[TOKEN_IDS].long(), None if counts is None else counts.long(), source)
    has_row = tensors.get(HAS_ROW)
    if has_row is not None and len(has_row) != owner.vocab_size:
        raise UsageError(
            f"{HAS_ROW} in {path} is about {len(has_row)} tokens, but {owner.name} has {owner.vocab_size}"
        )
    offsets = tensors.get(OFFSETS, tensors.get(TOKEN_IDS))
    if offsets is None:
        if has_row is None:
            raise ValueError("no d2t, t2d or token_ids in it")
        return TokenFrequencies(has_row.bool().nonzero()[:, 0], None, source)
    ids = offsets.long() + (0 if holds == "ids" else torch.arange(len(offsets)))
    if has_row is not None and not torch.equal(has_row.bool().nonzero()[:, 0], ids.unique()):
        raise UsageError(
            f"{HAS_ROW} and {OFFSETS} in {path} are about different tokens; where {OFFSETS} holds ids and no "
            "offsets, say so with --holds ids"
        )
    return TokenFrequencies(ids, None, source)


def _safetensors(path: Path) -> tuple[Any, str | None, str]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in _OF_MAPS if name in file.keys()}  # noqa: SIM118 - no dict
    if COUNTS in tensors and TOKEN_IDS in tensors and FINGERPRINT not in metadata:
        raise ValueError(f"its metadata have no {FINGERPRINT}")
    return tensors, metadata.get(FINGERPRINT), metadata.get(SOURCE, str(path))


def _torch(path: Path) -> tuple[Any, str | None, str]:
    try:
        with warnings.catch_warnings(action="ignore"):  # about how old files were made
            return torch.load(path, map_location="cpu", weights_only=True), None, str(path)
    except pickle.UnpicklingError:
        # Torch's own words say how to load it all the same, which would run what is in it.
        raise ValueError("it is damaged, or pickles more than tensors, lists and numbers") from None


def _numpy(path: Path) -> tuple[Any, str | None, str]:
    return torch.from_numpy(np.load(path, allow_pickle=False)), None, str(path)


def _json(path: Path) -> tuple[Any, str | None, str]:
    return json.loads(path.read_text(encoding="utf-8")), None, str(path)


_READERS: Mapping[str, Callable[[Path], tuple[Any, str | None, str]]] = {
    ".safetensors": _safetensors,
    ".npy": _numpy,
    ".pt": _torch,
    ".pth": _torch,
    ".bin": _torch,
    ".json": _json,
}


def _integers(values: list[Any]) -> Tensor:
    strange = next((value for value in values if type(value) is not int), None)
    if strange is not None:
        raise TypeError(f"{strange!r} is not a whole number")
    return torch.tensor(values, dtype=torch.int64)
