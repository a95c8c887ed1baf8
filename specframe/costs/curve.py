"""Seconds by size, with straight lines between what was measured."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Self

import attrs

# What no machine takes, and no vocabulary has.
LONGEST, _LARGEST = 1e6, 1 << 40


@attrs.frozen(slots=True)
class Curve:
    """Seconds that never fall with the size: more work cannot cost less, and what says so is noise.

    Attributes:
        sizes: rising, at least one.
        seconds: by size.
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    def __attrs_post_init__(self) -> None:
        if not self.sizes or len(self.sizes) != len(self.seconds):
            raise ValueError("a curve needs as many sizes as seconds, and at least one")
        if any(a >= b for a, b in zip(self.sizes, self.sizes[1:], strict=False)):
            raise ValueError("sizes of a curve must rise")
        if not 0 <= self.sizes[0] <= self.sizes[-1] <= _LARGEST:
            raise ValueError(f"sizes of a curve must be 0 to {_LARGEST}")
        if not all(0 <= value <= LONGEST for value in self.seconds):
            raise ValueError(f"seconds of a curve must be 0 to {LONGEST:g}")
        if any(a > b for a, b in zip(self.seconds, self.seconds[1:], strict=False)):
            raise ValueError("seconds of a curve must not fall")

    @classmethod
    def of(cls, measured: Mapping[int, float] | Iterable[tuple[int, float]]) -> Self:
        """Return the curve through pairs of size and seconds."""
        pairs = sorted(dict(measured).items())
        return cls(tuple(size for size, _ in pairs), tuple(accumulate((value for _, value in pairs), max)))

    def __call__(self, size: float) -> float:
        """Return the seconds at a size; beyond the ends, on the last line. One point counts everywhere."""
        sizes, seconds = self.sizes, self.seconds
        if len(sizes) == 1:
            return seconds[0]
        right = min(max(bisect_right(sizes, size), 1), len(sizes) - 1)
        left = right - 1
        share = (size - sizes[left]) / (sizes[right] - sizes[left])
        return max(seconds[left] + share * (seconds[right] - seconds[left]), 0.0)

    def scaled(self, factor: float) -> Curve:
        """Return the curve of a machine that takes ``factor`` times as long."""
        return Curve(self.sizes, tuple(value * factor for value in self.seconds))

    def moved_towards(self, measured: Mapping[int, float], share: float) -> Curve:
        """Return the curve after part of the way to what was measured since, at those sizes.

        Args:
            measured: seconds by size.
            share: of the way, 0 to 1.
        """
        moved = dict(zip(self.sizes, self.seconds, strict=True))
        for size, value in measured.items():
            moved[size] = self(size) + share * (value - self(size))
        fixed = [size for size in moved if size not in measured]
        # What was not seen gives way: it stays neither below a smaller size that was, nor above a larger.
        seen = sorted(measured)
        for size in fixed:
            at = bisect_left(seen, size)
            low = moved[seen[at - 1]] if at else 0.0
            high = moved[seen[at]] if at < len(seen) else float("inf")
            moved[size] = min(max(moved[size], low), max(high, low))
        return Curve.of(moved)
