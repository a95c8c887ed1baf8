"""Where the time of a generation goes, phase by phase."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Literal

Phase = Literal[
    "prefill", "draft_backbone", "draft_head", "draft_tree", "vocabulary", "target_pass", "other", "consumer"
]


class PhaseClock:
    """Attributes every moment since the last lap to one phase, so that the phases sum to the wall time.

    Args:
        synchronize: waits for the device before a lap is read. Without it, laps on an asynchronous device
            measure the host alone.
    """

    def __init__(self, synchronize: Callable[[], None] | None = None) -> None:
        self.seconds: dict[Phase, float] = {}
        self._synchronize = synchronize
        self._mark = 0.0

    def start(self) -> None:
        """Forget all laps and start timing now."""
        self.seconds = {}
        self._mark = perf_counter()

    def lap(self, phase: Phase) -> None:
        """Attribute the time since the last lap (or the start) to ``phase``."""
        if self._synchronize is not None:
            self._synchronize()
        now = perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._mark
        self._mark = now
