"""How often guesses with the same evidence were right, in one request."""

from __future__ import annotations

from collections.abc import Callable

from specframe_plugins.sources.source import Evidence


class Rates:
    """Estimates for one request, each from what is expected and from what came true.

    Args:
        prior: right guesses and guesses that are taken for granted, by evidence.
    """

    def __init__(self, prior: Callable[[Evidence], tuple[float, float]]) -> None:
        self._prior = prior
        self._seen: dict[Evidence, list[float]] = {}

    def estimate(self, evidence: Evidence) -> float:
        """Return the probability that a guess with some evidence is right."""
        right, all_of_them = self._seen.get(evidence) or self._prior(evidence)
        return right / all_of_them

    def learn(self, evidence: Evidence, *, right: bool) -> None:
        """Take what became of a guess."""
        seen = self._seen.get(evidence)
        if seen is None:
            seen = self._seen[evidence] = [*self._prior(evidence)]
        seen[0] += right
        seen[1] += 1.0
