"""Attrs objects in files: JSON is read with its keys and types checked, and a file is written whole."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
import socket
import tempfile
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from specframe.errors import SpecframeError, UsageError

Record = TypeVar("Record", bound=attrs.AttrsInstance)


def structure(cls: type[Record], values: object) -> Record:
    """Return an instance of an attrs class from what its JSON was read as.

    Args:
        cls: has fields of plain types, literals, lists, tuples, mappings, attrs classes, and any of these or
            None. A key may be missing where its field has a default: an older file has not got it.
        values: what ``json.loads`` returned.

    Raises:
        ValueError: not a JSON object, a key is missing or unknown, or a value is of another type.
    """
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    hints = typing.get_type_hints(cls)
    needed = {field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING}
    for wrong, what in ((needed - values.keys(), "missing"), (values.keys() - hints.keys(), "unknown")):
        if wrong:
            raise ValueError(f"key {min(wrong)!r} is {what}")
    return cls(**{name: _value(hints[name], value, name) for name, value in values.items()})


def check_file_place(path: Path) -> None:
    """See, before long work, that a file can be written.

    Raises:
        SpecframeError: it cannot, for the reason that writing it would have.
    """
    reason = None
    if path.is_dir():
        reason = errno.EISDIR
    elif not path.parent.is_dir():
        inside_a_file = any(above.is_file() for above in path.absolute().parents)
        reason = errno.ENOTDIR if inside_a_file else errno.ENOENT
    elif path.exists():
        reason = None if os.access(path, os.W_OK) else errno.EACCES
    else:
        reason = _why_nothing_can_be_made_in(path.parent)
    if reason is not None:
        raise SpecframeError(f"cannot write {path}: {os.strerror(reason)}")


def check_folder_place(path: Path) -> None:
    """See, before long work, that a folder can be made, with those above it.

    Raises:
        UsageError: a file is in its place or in that of a folder above it, or it cannot be written.
    """
    above = path.absolute()
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise UsageError(f"cannot write {path}: {above} is a file; allowed: a new directory in a folder")
    reason = _why_nothing_can_be_made_in(above)
    if reason is not None:
        raise UsageError(f"cannot write {path}: {os.strerror(reason)}; allowed: a place that can be written")


def _why_nothing_can_be_made_in(folder: Path) -> int | None:
    """Return the error that a new file in a folder ends in; it is tried, as not all folders tell."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.errno or errno.EACCES


def scratch_beside(path: Path) -> Path:
    """Return where to write what then takes the place of ``path``; leftovers of killed processes are removed.

    The name says whose it is, so that nobody removes what another process or machine still writes.
    """
    mine = f".{path.name}.{socket.gethostname()}."
    for left in path.parent.glob(f"{glob.escape(mine)}*"):
        owner = left.name.removeprefix(mine)
        if owner.isdecimal() and not _runs(int(owner)):
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{mine}{os.getpid()}")


def _runs(process: int) -> bool:
    """Return whether a process of this machine is still there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's, or no way to know
        return True
    return True


def write_whole(path: Path, content: bytes) -> None:
    """Write a file: to a temporary one beside it, which then takes its place.

    A device, a pipe, or a link such as ``/dev/stdout`` stays what it is, and is written to.

    Raises:
        SpecframeError: it cannot be written; what was there before stays.
    """
    scratch = scratch_beside(path)
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_bytes(content)
            return
        scratch.write_bytes(content)
        scratch.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise SpecframeError(f"cannot write {path}: {error.strerror}") from None


def keep_whole(path: Path, content: bytes) -> bool:
    """Write a file of a cache, and its folder, where that is possible: a cache is no reason to fail.

    Returns:
        Whether it is there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except (OSError, SpecframeError):
        return False
    return True


def _value(hint: Any, value: object, name: str) -> Any:
    """Return a value that fits its annotation."""
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if type(None) in choices:
        return None if value is None else _value(choices[0], value, name)
    if origin in (list, tuple) and isinstance(value, list):
        return origin(_value(choices[0], item, name) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: _value(choices[1], item, name) for key, item in value.items()}
    if origin is typing.Literal and value in choices:
        return value
    if attrs.has(hint):
        return structure(hint, value)
    if hint is float and type(value) is int:
        return float(value)
    if hint is Any or type(value) is hint:
        return value
    raise ValueError(f"{name} cannot be {json.dumps(value)[:40]}")
