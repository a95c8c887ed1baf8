"""Whether other programs wanted the CPU while something was timed."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import attrs
import torch

# How often in a second a thread has to give way where nothing else runs, at most: there it is some 15 times,
# and some 150 times beside one other busy program.
QUIET = 50


@attrs.define
class Contention:
    """What is known once the time is over.

    Attributes:
        found: other programs wanted the CPU.
    """

    found: bool = False


@contextmanager
def watch_contention() -> Iterator[Contention]:
    """Tell whether other programs want the CPU during a block of code, by how often it has to give way."""
    began, before, contention = perf_counter(), _switches(), Contention()
    yield contention
    seconds = max(perf_counter() - began, 0.1)
    contention.found = _switches() - before > QUIET * torch.get_num_threads() * seconds


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
