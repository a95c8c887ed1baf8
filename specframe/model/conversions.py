"""Converted models in the cache folder: whole or not there, and nothing of a conversion that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LOCK = ".lock"
_WEIGHTS = "*.safetensors"


@contextlib.contextmanager
def scratch_folder(folder: Path, name: str) -> Iterator[Path]:
    """Yield a new folder for a conversion in ``folder``; what a killed one left there is removed first.

    A lock says that a conversion is alive, so that several at the same time leave each other alone.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    try:
        with (scratch / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def why_broken(folder: Path) -> str | None:
    """Return what is wrong with a converted model, as far as a glance shows; None where nothing is."""
    for name in ("config.json", "tokenizer_config.json"):
        try:
            json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return f"{name}: {_said(error)}"
    if not _is_closed(folder / "tokenizer.json"):
        return "tokenizer.json is no whole JSON file"
    weights = sorted(folder.glob(_WEIGHTS))
    if not weights:
        return "it has no weights"
    for file in weights:
        if _cut_off(file):
            return f"{file.name} is no whole safetensors file"
    return None


def _remove_leftovers(folder: Path) -> None:
    """Remove the folders of conversions that are alive no more."""
    for lock in folder.glob(f".*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


def _is_closed(file: Path) -> bool:
    """Return whether a file begins and ends as a JSON object does; some are too long to be read for that."""
    try:
        with file.open("rb") as opened:
            first = opened.read(64)
            opened.seek(-min(64, file.stat().st_size), os.SEEK_END)
            return first.lstrip()[:1] == b"{" and opened.read().rstrip()[-1:] == b"}"
    except OSError:
        return False


def _cut_off(file: Path) -> bool:
    """Return whether a safetensors file is not as long as its header says, or has none."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            size = file.stat().st_size
            entries = json.loads(opened.read(min(length, size)))
            ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return True
    return bool(size != 8 + length + max(ends, default=0))


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
