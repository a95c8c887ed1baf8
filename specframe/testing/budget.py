"""A budget whose answers are known, for what a drafter makes of them."""

from __future__ import annotations

from collections.abc import Sequence


class ScriptedBudget:
    """The ``Budget`` of a test: levels of given widths, draft after draft, whatever they are worth.

    Args:
        widths: nodes that get children, for each draft and each of its levels; drafts beyond the last get the
            first ones again. None grants every node.
        head: whether the head drafts, for each draft likewise.

    Attributes:
        granted: levels that the draft was allowed below the first.
        refused: it was told to end.
    """

    def __init__(self, widths: Sequence[Sequence[int]] | None = None, head: Sequence[bool] = (True,)) -> None:
        self._widths, self._head = widths, head
        self._drafts = 0
        self.begin()

    def begin(self) -> None:
        """Begin a draft."""
        number, self._drafts = self._drafts, self._drafts + 1
        self.granted, self.refused = 0, False
        self._wants_head = self._head[number % len(self._head)]
        self._left = None if self._widths is None else list(self._widths[number % len(self._widths)])

    def wants_head(self, path: Sequence[float] = ()) -> bool:
        """Return whether the head drafts."""
        return self._wants_head

    def beams(self, log_probs: Sequence[float]) -> int:
        """Return the width of the next level, as long as one is left."""
        width = len(log_probs)
        if self._left is not None:
            width = min(self._left.pop(0), width) if self._left else 0
        self.granted += width > 0
        self.refused = self.refused or not width
        return width
