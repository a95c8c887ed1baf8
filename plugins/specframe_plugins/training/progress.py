"""Progress of long work on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 30.0


class ProgressLine:
    """Shows what is done of how much, the speed and the time left.

    Args:
        what: what is being done.
        total: when it is complete.
        start: how much was done before, by an earlier run; not part of the speed.
        unit: what is counted.
    """

    def __init__(self, what: str, total: int, start: int = 0, unit: str = "tokens") -> None:
        self.what, self.total, self.unit = what, total, unit
        self._start = self._done = start
        self._began = self._last_line = time.monotonic()
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task(what, total=total, completed=start, note="")

    def __enter__(self) -> ProgressLine:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None and self._done > self._start:
            self._line("")

    def update(self, done: int, note: str = "") -> None:
        """Sets how much is done, with a word on how it goes."""
        self._done = done
        if self._bar:
            self._bar.update(self._task, completed=done, note=f"{_rate(self._speed())} {self.unit}/s {note}")
        elif time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self._line(note)

    def _speed(self) -> float:
        return (self._done - self._start) / max(time.monotonic() - self._began, 1e-9)

    def _line(self, note: str) -> None:
        self._last_line = time.monotonic()
        speed = self._speed()
        left = (self.total - self._done) / speed if speed > 0 else float("inf")
        minutes = f"{max(left, 0.0) / 60:.1f} min left" if left != float("inf") else "time left unknown"
        done = f"{self.what}: {self._done:,} of {self.total:,} {self.unit}"
        rest = f", {note}" if note else ""
        print(f"{done}, {_rate(speed)} {self.unit}/s, {minutes}{rest}", file=sys.stderr, flush=True)


def _rate(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.2f}"
