"""A file of rows that grows prompt by prompt, and can be continued after an interrupt without a lost row."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from specframe.bench.rows import BenchRow, read_interrupted, to_line
from specframe.errors import SpecframeError, UsageError


class RowsFile:
    """Appends the rows of one prompt at a time; a prompt is there with all its configurations or not at all.

    Args:
        path: of the file; it is created when it is not there.
        prompt_ids: ids of the prompts, in the order of the run.
        labels: of the configurations.

    Attributes:
        rows: what the file holds.

    Raises:
        SpecframeError: the file cannot be written, or somebody else is writing it.
        UsageError: the file has rows of other prompts or configurations.
    """

    def __init__(self, path: Path, prompt_ids: Sequence[str], labels: Sequence[str]) -> None:
        self.path = path
        try:
            # Unbuffered: what a full disk refused must not be written later, when the file is closed.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.rows = self._continued(prompt_ids, labels)
        except BlockingIOError:
            self._file.close()
            raise SpecframeError(f"{path} is being written by another run") from None
        except BaseException:
            self._file.close()
            raise

    def append(self, rows: Sequence[BenchRow]) -> None:
        """Write the rows of one prompt; on failure none of them stays.

        Raises:
            SpecframeError: they cannot be written, for example because the disk is full.
        """
        before = self._file.tell()
        content = memoryview("".join(map(to_line, rows)).encode())
        try:
            while content:
                content = content[self._file.write(content) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), before)
            raise _unwritable(self.path, error) from None
        self.rows += rows

    def __enter__(self) -> RowsFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _continued(self, prompt_ids: Sequence[str], labels: Sequence[str]) -> list[BenchRow]:
        """Return the rows of the prompts that are complete, and cut off what comes after them."""
        if not self._file.tell():
            return []
        found = read_interrupted(self.path)
        kept: list[BenchRow] = []
        for prompt_id in prompt_ids:
            group = found[len(kept) : len(kept) + len(labels)]
            if {(row.report.id, row.configuration) for row in group} != {
                (prompt_id, label) for label in labels
            }:
                break
            kept += group
        # At most the last prompt is unfinished; anything else was not written by this run.
        rest = {row.report.id for row in found[len(kept) :]}
        if rest and rest != set(prompt_ids[len(kept) // len(labels) :][:1]):
            raise UsageError(
                f"{self.path}, line {len(kept) + 1}: a row that this run would not have written there; "
                "allowed: another --json file"
            )
        lines = self.path.read_bytes().splitlines(keepends=True)
        os.ftruncate(self._file.fileno(), sum(map(len, lines[: len(kept)])))
        self._file.seek(0, os.SEEK_END)
        return kept


def _unwritable(path: Path, error: OSError) -> SpecframeError:
    return SpecframeError(f"cannot write {path}: {error.strerror}")
