"""Going on where an interrupted benchmark stopped, under the same conditions only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from specframe.bench.manifest import Manifest, manifest_path, read_manifest, write_manifest
from specframe.bench.rows_file import RowsFile
from specframe.errors import UsageError

# What decides the rows of a machine; its memory does not.
_MACHINE = ("cpu", "threads", "accelerator")


def open_rows(path: Path, manifest: Manifest, prompt_ids: Sequence[str]) -> RowsFile:
    """Open a file of rows, new or interrupted, and see to it that its manifest is this run's.

    Args:
        path: of the rows.
        manifest: of this run.
        prompt_ids: in the order of the run.

    Raises:
        UsageError: the file was begun under other conditions, or is none of ours.
        SpecframeError: it cannot be read or written.
    """
    beside = manifest_path(path)
    has_rows = path.is_file() and path.stat().st_size > 0
    if has_rows and not beside.is_file():
        raise UsageError(f"{path} has rows but no {beside.name} beside it; allowed: another --json file")
    if has_rows:
        _check_same(read_manifest(beside), manifest, path)
    file = RowsFile(path, prompt_ids, manifest.settings["configurations"])
    if not has_rows:
        try:
            write_manifest(manifest, beside)
        except BaseException:
            file.__exit__(None, None, None)
            raise
    return file


def _check_same(before: Manifest, now: Manifest, path: Path) -> None:
    """Refuse to continue a file under other conditions.

    Raises:
        UsageError: something that decides the rows differs; the message names it.
    """
    # The prompts have a digest, so that the task file may have moved.
    settings = {name: value for name, value in now.settings.items() if name != "tasks"}
    pairs = [
        *((name, before.settings.get(name), value) for name, value in settings.items()),
        *((name, before.versions.get(name), value) for name, value in now.versions.items()),
        *((name, before.machine.get(name), now.machine[name]) for name in _MACHINE),
    ]
    for name, old, new in pairs:
        if old != new:
            raise UsageError(
                f"{path} was begun with {name.replace('_', ' ')} {_shown(old)}, this is {_shown(new)}; "
                "allowed: the same again, or another --json file"
            )


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
