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
    """

    def __init__(self, make_event: Callable[[], TimedEvent] | None = None) -> None:
        self._make_event = make_event
        self._events: list[TimedEvent] = []  # reused from one generation to the next
        self._laps: list[Phase] = []
        self._seconds: dict[Phase, float] = {}
        self._mark = 0.0

    def start(self) -> None:
        """Forget all laps and start timing now."""
        self._laps, self._seconds = [], {}
        if self._make_event is not None:
            self._record(self._make_event, 0)
        self._mark = perf_counter()

    def lap(self, phase: Phase) -> None:
        """Attribute the time since the last lap (or the start) to ``phase``."""
        if self._make_event is not None:
            self._laps.append(phase)
            self._record(self._make_event, len(self._laps))
            return
        now = perf_counter()
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

    def _record(self, make_event: Callable[[], TimedEvent], index: int) -> None:
        if index == len(self._events):
            self._events.append(make_event())
        self._events[index].record()
