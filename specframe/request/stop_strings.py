"""Cuts text right before the first stop string, however it is spread over pieces."""

from __future__ import annotations

from collections.abc import Iterable

from specframe.errors import UsageError


class StopStrings:
    """Lets text through that no stop string can remove any more.

    Text that may be the beginning of a stop string is held back until the next piece decides.

    Args:
        stops: the stop strings; none lets everything through.

    Attributes:
        found: a stop string has turned up; nothing is let through any more.

    Raises:
        UsageError: a stop string is empty.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self._stops = tuple(stops)
        if "" in self._stops:
            raise UsageError("a stop string is empty; allowed: at least one character")
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Return what may be shown now that ``text`` has come; it ends before the first stop string."""
        if self.found or not self._stops:
            return "" if self.found else text
        self._held += text
        starts = [start for stop in self._stops if (start := self._held.find(stop)) >= 0]
        self.found = bool(starts)
        end = min(starts) if starts else len(self._held) - self._undecided()
        shown, self._held = self._held[:end], self._held[end:]
        return shown

    def would_find(self, text: str) -> bool:
        """Return whether a stop string would turn up if ``text`` came now and nothing after it."""
        return any(stop in self._held + text for stop in self._stops)

    def finish(self) -> str:
        """Return the text held back, now that nothing more comes."""
        return "" if self.found else self._held

    def _undecided(self) -> int:
        """Return how many of the last characters may begin a stop string."""
        longest = min(max(map(len, self._stops)) - 1, len(self._held))
        for n in range(longest, 0, -1):
            if any(stop.startswith(self._held[-n:]) for stop in self._stops):
                return n
        return 0
