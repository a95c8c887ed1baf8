"""Cost models in files: one that a user pins, or one of the cache folder that its content names."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from pathlib import Path

import attrs

from specframe.contracts.records import structure, write_whole
from specframe.costs.model import CostModel, Setup
from specframe.errors import SpecframeError, UsageError
from specframe.ops.machine import Machine

_log = logging.getLogger(__name__)


def cached_path(folder: Path, setup: Setup, machine: Machine) -> Path:
    """Return where costs of this setup on this machine are kept below the cache folder."""
    identity = json.dumps([attrs.asdict(setup), attrs.asdict(machine)], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return folder / "costs" / f"{digest}.json"


def read_costs(path: Path) -> CostModel:
    """Return the costs in a file.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        return structure(CostModel, json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} holds no measured costs ({error})") from None


def read_pinned(path: Path, setup: Setup) -> CostModel:
    """Return the costs in a file that a user named for a setup; where they were measured does not matter.

    Raises:
        UsageError: as in ``read_costs``, or they are of another model, dtype or drafter.
    """
    costs = read_costs(path)
    for name in ("model", "size", "dtype", "drafter", "draft", "gather"):
        measured, asked = getattr(costs.setup, name), getattr(setup, name)
        if measured != asked:
            raise UsageError(
                f"{path} was measured with {name} {measured}, and this run has {asked}; allowed: another "
                "file, which is then written"
            )
    return costs


def read_cached(path: Path) -> CostModel | None:
    """Return the costs in a file of the cache; None where it is not there or of no use."""
    if not path.exists():
        return None
    try:
        return read_costs(path)
    except UsageError as error:
        _log.warning("%s; they are measured again", error)
        return None


def check_writable(path: Path) -> None:
    """Make the folder of a file where it is missing, before long work goes into what the file is to hold.

    Raises:
        SpecframeError: the folder cannot be made, or nothing can be written into it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecframeError(f"cannot write {path}: {error.strerror}") from None
    if not os.access(path.parent, os.W_OK):
        raise SpecframeError(f"cannot write {path}: {os.strerror(errno.EACCES)}")


def write_costs(path: Path, costs: CostModel) -> None:
    """Write a file, and its folder where it is missing.

    Raises:
        SpecframeError: it cannot be written.
    """
    check_writable(path)
    write_whole(path, (json.dumps(attrs.asdict(costs), indent=1) + "\n").encode())
