"""How often a text goes on as it did before, by how many tokens were equal."""

from __future__ import annotations

from collections.abc import Sequence

from specframe_plugins.drafters.lookup.context import MOST_EQUAL, Continuation

# A text is expected to repeat itself in two of three cases, with the weight of three observations: between
# what short matches and long ones show (docs/drafters.md), and soon replaced by what this text does.
_HITS, _TRIALS = 2.0, 3.0


class RepetitionRates:
    """Estimates for one request: matches of 2, 3, 4 to 7, 8 to 15, and more tokens are told apart."""

    def __init__(self) -> None:
        buckets = _bucket(MOST_EQUAL) + 1
        self._hits, self._trials = [_HITS] * buckets, [_TRIALS] * buckets

    def estimate(self, equal: int) -> float:
        """Return the probability that the next token is the same again after ``equal`` equal ones."""
        bucket = _bucket(equal)
        return self._hits[bucket] / self._trials[bucket]

    def learn(self, continuation: Continuation, emitted_ids: Sequence[int]) -> None:
        """Compare what followed the last time with what followed now; nothing counts after a difference."""
        for i, (then, now) in enumerate(zip(continuation.token_ids, emitted_ids, strict=False)):
            bucket = _bucket(continuation.equal + i)
            self._trials[bucket] += 1.0
            if then != now:
                return
            self._hits[bucket] += 1.0


def _bucket(equal: int) -> int:
    equal = min(equal, MOST_EQUAL)
    return max(equal - 2, 0) if equal < 4 else equal.bit_length() - 1
