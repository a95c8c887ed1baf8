"""Whether other programs wanted the CPU while something was timed."""

from __future__ import annotations

import resource
from time import perf_counter

import torch

# How often in a second a thread has to give way where nothing else runs, at most: there it is some 15 times,
# and some 150 times beside one other busy program.
QUIET = 50


class ContentionWatch:
    """Tells whether other programs wanted the CPU since it began, by how often this process gave way."""

    def __init__(self) -> None:
        self._began, self._before = perf_counter(), _switches()

    @property
    def found(self) -> bool:
        """Whether they did, so far."""
        seconds = max(perf_counter() - self._began, 0.1)
        return _switches() - self._before > QUIET * torch.get_num_threads() * seconds


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
