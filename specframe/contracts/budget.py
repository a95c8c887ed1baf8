"""What a drafter may ask while it drafts: whether more of the draft is worth its time here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Budget(Protocol):
    """Says what pays, from the cost curves of this machine and from what the text accepted so far.

    A draft of c seconds that adds g tokens raises a speed of S tokens per second exactly when g > S c.
    """

    def wants_head(self, path: Sequence[float] = ()) -> bool:
        """Return whether the LM head should draft, beside a path that is there without it.

        Args:
            path: log-probability of each node of that path given the one before [n].
        """
        ...

    def beams(self, log_probs: Sequence[float]) -> int:
        """Return how many nodes of the level drafted last should get children; 0 ends the draft.

        Each answer above 0 counts as a level that was drafted.

        Args:
            log_probs: of the paths to the best of those nodes, falling [b].
        """
        ...
