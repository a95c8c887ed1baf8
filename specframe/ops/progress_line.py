"""One line on a terminal that says how far something long has come, and how long it still takes.

Where there is no terminal there is no line; ``specframe -v`` then logs one now and then. Nothing runs beside
the work for it: the line moves when the work says so, and what is measured is not disturbed.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from specframe.ops.notes import is_quiet

if TYPE_CHECKING:
    from rich.progress import Progress

_log = logging.getLogger(__name__)

_DRAWN_EVERY_S = 0.1
_LOGGED_EVERY_S = 30.0
# The line that is on the terminal: work inside of other work says nothing.
_on_terminal: ProgressLine | None = None


class ProgressLine:
    """Shows what is done of how much, the speed and the time left, and is gone when the work is.

    Args:
        what: what is being done.
        total: when it is complete; None where nobody knows.
        start: how much was done before, by an earlier run; not part of the speed.
        unit: what is counted, as in ``3 of 8 prompts``; ``%`` is a share of 100.
    """

    def __init__(self, what: str, total: int | None = None, start: int = 0, unit: str = "") -> None:
        self.what, self.total, self.unit = what, total, unit
        self._start = self._done = start
        self._began = self._drawn = self._logged = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressLine:
        global _on_terminal
        if _on_terminal is None and can_show():
            _on_terminal = self
            self._bar = _bar(self.what, self.total, self._start)
            self._bar.start()
            self._draw("")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _on_terminal
        if self._bar is not None:
            _on_terminal = None
            self._bar.stop()
            self._bar = None

    def advance(self, note: str = "") -> None:
        """One more is done."""
        self.update(self._done + 1, note)

    def update(self, done: int, note: str = "") -> None:
        """Sets how much is done, with a word on how it goes."""
        self._done = done
        now = time.monotonic()
        if done == self._start:  # what comes before the work says nothing about its speed
            self._began = now
        if self._bar is not None:
            if now - self._drawn >= _DRAWN_EVERY_S or done == self.total:
                self._drawn = now
                self._draw(note)
        elif now - self._logged >= _LOGGED_EVERY_S:
            self._logged = now
            _log.info("%s: %s", self.what, self._said(note))

    def _draw(self, note: str) -> None:
        assert self._bar is not None
        (task,) = self._bar.tasks
        self._bar.update(task.id, completed=self._done, said=self._said(note), refresh=True)

    def _counted(self) -> str:
        if self.total is None:
            return ""
        if self.unit == "%":
            return f"{self._done} %"
        return f"{self._done:,} of {self.total:,} {self.unit}".rstrip()

    def _per_second(self) -> float:
        return (self._done - self._start) / max(time.monotonic() - self._began, 1e-9)

    def _speed(self) -> str:
        speed = self._per_second()
        if self.unit in ("", "%") or not speed:
            return ""
        return f"{speed:,.0f} {self.unit}/s" if speed >= 10 else f"{speed:.2f} {self.unit}/s"

    def _left(self) -> str:
        speed = self._per_second()
        if self.total is None or self._done >= self.total or not speed:
            return ""
        return f"{timedelta(seconds=round((self.total - self._done) / speed))} left"

    def _said(self, note: str) -> str:
        return ", ".join(filter(None, [self._counted(), self._speed(), note, self._left()]))


def can_show() -> bool:
    """Return whether standard error is a terminal that a line can be drawn on, and the user wants one."""
    return not is_quiet() and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _bar(what: str, total: int | None, done: int) -> Progress:
    # Most work is done where nobody looks, and need not wait for this.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
    if total is not None:
        columns.append(BarColumn(20))
    columns.append(TextColumn("{task.fields[said]}", markup=False))
    console = Console(file=sys.stderr)
    # What goes to standard output may go to a file.
    bar = Progress(*columns, console=console, transient=True, auto_refresh=False, redirect_stdout=False)
    bar.add_task(what, total=total, completed=done, said="")
    return bar
