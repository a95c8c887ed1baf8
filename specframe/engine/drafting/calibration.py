"""How much of what drafts promise is kept, by depth and confidence."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

# Promises below, between and above these are told apart, and depths up to the last.
_EDGES = (0.1, 0.3, 0.6)
_DEPTHS = 4
# A promise is believed until the text says otherwise (those of the heads that ship are kept, 0.9 to 1.1 of
# them at every depth and confidence), with the weight of so much promised.
_KEPT, _WEIGHT = 1.0, 1.5
# What a pass leaves of the passes before it.
_MEMORY = 0.98


class Calibration:
    """Turns the probability that a drafter gives a path into the share that the target follows.

    For one request: every verified node promised its path's probability, and was accepted or not.
    """

    def __init__(self) -> None:
        self._promised = [[_WEIGHT] * (len(_EDGES) + 1) for _ in range(_DEPTHS)]
        self._kept = [[_WEIGHT * _KEPT] * (len(_EDGES) + 1) for _ in range(_DEPTHS)]

    def __call__(self, depth: int, promised: float) -> float:
        """Return the probability of a path to a node at a depth from 1, given what was promised for it."""
        row, column = min(depth, _DEPTHS) - 1, bisect_right(_EDGES, promised)
        return min(promised * self._kept[row][column] / self._promised[row][column], 1.0)

    def learn(self, nodes: Iterable[tuple[int, float, bool]]) -> None:
        """Take the nodes of one verified tree, the root aside: depth, what was promised, whether accepted."""
        for row in range(_DEPTHS):
            for column in range(len(_EDGES) + 1):
                for sums, prior in ((self._promised, _WEIGHT), (self._kept, _WEIGHT * _KEPT)):
                    sums[row][column] = prior + _MEMORY * (sums[row][column] - prior)
        for depth, promised, accepted in nodes:
            row, column = min(depth, _DEPTHS) - 1, bisect_right(_EDGES, promised)
            self._promised[row][column] += promised
            self._kept[row][column] += accepted
