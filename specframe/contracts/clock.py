"""Where the time of a generation goes, phase by phase."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Literal, Protocol

Phase = Literal[
    "prefill",
    "draft_backbone",
    "draft_head",
    "draft_tree",
    "vocabulary",
    "target_pass",
    "statistics",
    "other",
    "consumer",
]


class TimedEvent(Protocol):
    """A point in a device's work, such as ``torch.cuda.Event``."""

    def record(self) -> None:
        """Stand where the work launched so far ends."""
        ...

    def synchronize(self) -> None:
        """Wait until that work is done."""
        ...

    # Positional, because devices name it differently.
    def elapsed_time(self, end: Any, /) -> float:
        """Return the milliseconds from this event to ``end``."""
        ...


class PhaseClock:
    """Attributes every moment since the last lap to one phase, so that the phases sum to the wall time.

    Args:
        make_event: returns an event of an asynchronous device. A lap then records one and waits for nothing;
            times are read when somebody asks for them. Without it the host's clock counts.
        now: the host's clock, seconds.
    """

    def __init__(
        self, make_event: Callable[[], TimedEvent] | None = None, now: Callable[[], float] = perf_counter
    ) -> None:
        self._make_event = make_event
        self._now = now
        self._events: list[TimedEvent] = []  # reused from one generation to the next
        self._laps: list[Phase] = []
        self._seconds: dict[Phase, float] = {}
        self._mark = 0.0
        self._split = 0  # laps that earlier splits have told of
        self._told: dict[Phase, float] = {}

    def start(self) -> None:
        """Forget all laps and start timing now."""
        self._laps, self._seconds = [], {}
        self._split, self._told = 0, {}
        if self._make_event is not None:
            self._record(self._make_event, 0)
        self._mark = self._now()

    def lap(self, phase: Phase) -> None:
        """Attribute the time since the last lap (or the start) to ``phase``."""
        if self._make_event is not None:
            self._laps.append(phase)
            self._record(self._make_event, len(self._laps))
            return
        now = self._now()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._mark
        self._mark = now

    @property
    def seconds(self) -> dict[Phase, float]:
        """Seconds per phase that had a lap; on an asynchronous device this waits for the last lap."""
        if self._laps:
            self._events[len(self._laps)].synchronize()
            self._seconds = {}
            for begin, end, phase in zip(self._events, self._events[1:], self._laps, strict=False):
                self._seconds[phase] = self._seconds.get(phase, 0.0) + begin.elapsed_time(end) / 1000
        return self._seconds

    def split(self) -> dict[Phase, float]:
        """Return the seconds per phase since the last split, or since the start.

        On an asynchronous device it ends with the last target pass, whose verdict the host has waited for, so
        that this waits for nothing; what came after belongs to the next split.
        """
        if self._make_event is None:
            since = {phase: spent - self._told.get(phase, 0.0) for phase, spent in self._seconds.items()}
            self._told = dict(self._seconds)
            return since
        since = {}
        first, last = self._split, len(self._laps)
        while last > first and self._laps[last - 1] != "target_pass":
            last -= 1
        if last > first:
            self._events[last].synchronize()
        for lap in range(first, last):
            spent = self._events[lap].elapsed_time(self._events[lap + 1]) / 1000
            since[self._laps[lap]] = since.get(self._laps[lap], 0.0) + spent
        self._split = last
        return since

    def _record(self, make_event: Callable[[], TimedEvent], index: int) -> None:
        if index == len(self._events):
            self._events.append(make_event())
        self._events[index].record()
