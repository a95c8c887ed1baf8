"""The token source of ``lookup``: one path, what followed the last time that the text ended like this."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from specframe_plugins.drafters.lookup.context import MOST_EQUAL, Continuation, TextIndex
from specframe_plugins.sources.source import Evidence, Guess, Source

# A text is expected to repeat itself in two of three cases, with the weight of three observations: between
# what short matches and long ones show (docs/drafters.md), and soon replaced by what this text does.
_HITS, _TRIALS = 2.0, 3.0


class LookupSource(Source):
    """Guesses the continuation; matches of 2, 3, 4 to 7, 8 to 15, and more tokens are told apart.

    Args:
        length: tokens of the path at most.
    """

    name = "lookup"

    def __init__(self, length: int) -> None:
        self.depth = length
        self.begin([])

    def begin(self, token_ids: Sequence[int]) -> None:
        """Begin with a prompt [T]."""
        self._text = TextIndex(token_ids)
        self._continuation = Continuation(0)

    def read(self, token_ids: Sequence[int]) -> None:
        """Add the next tokens."""
        self._text.extend(token_ids)

    def after(self, path: Sequence[int], state: object) -> Iterable[Guess]:
        """Return the next token of the continuation, on its path and nowhere else."""
        if not path:
            self._continuation = self._text.continuation(self.depth)
        elif state is None:
            return ()
        at, then = len(path), self._continuation
        if at >= len(then.token_ids):
            return ()
        return (Guess(then.token_ids[at], (self.name, bucket(then.equal + at)), state=True),)

    def prior(self, evidence: Evidence) -> tuple[float, float]:
        """Return what is expected of matches of any length."""
        return _HITS, _TRIALS


def bucket(equal: int) -> int:
    """Return which of the lengths that are told apart a match of ``equal`` tokens, 2 or more, belongs to."""
    equal = min(equal, MOST_EQUAL)
    return max(equal - 2, 0) if equal < 4 else equal.bit_length() - 1
