"""What followed each token, in the text of a request and in what the target had in mind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise


class Successors:
    """The last tokens that came after each token.

    Args:
        count: how many of each.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._after: dict[int, dict[int, None]] = {}

    def forget(self) -> None:
        """Begin a request: nothing has followed anything."""
        self._after.clear()

    def learn_text(self, ids: Sequence[int]) -> None:
        """Take over that each of ``ids`` came after the one before it."""
        for before, after in pairwise(ids):
            self.learn(before, [after])

    def learn(self, token: int, ids: Iterable[int]) -> None:
        """Take over that any of ``ids`` may come after a token; the first of them is the likeliest."""
        kept = self._after.setdefault(token, {})
        for following in reversed(list(ids)):
            kept.pop(following, None)  # the order of a dict is that of insertion
            kept[following] = None
        while len(kept) > self._count:
            del kept[next(iter(kept))]

    def of(self, ids: Iterable[int]) -> list[int]:
        """Return what came after ``ids``, latest last."""
        return [following for token in ids for following in self._after.get(token, ())]
