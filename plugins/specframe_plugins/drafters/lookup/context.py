"""The text of a request, and where it has said the same before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

import attrs

# Fewer equal tokens say little about the next one, and more than these say nothing more.
_LEAST, MOST_EQUAL = 2, 16
# Earlier places that are compared; the latest ones continue best.
_PLACES = 4


@attrs.frozen(slots=True)
class Continuation:
    """What followed at an earlier place.

    Attributes:
        equal: how many tokens before it equal the last ones of the text, at most ``MOST_EQUAL``.
        token_ids: what followed.
    """

    equal: int
    token_ids: tuple[int, ...] = ()


class TextIndex:
    """Finds where the last tokens stood before, in constant time (prompt lookup decoding, Saxena 2023).

    Args:
        token_ids: the text to begin with [T].
    """

    def __init__(self, token_ids: Sequence[int] = ()) -> None:
        self._ids: list[int] = []
        self._after: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self.extend(token_ids)

    def extend(self, token_ids: Sequence[int]) -> None:
        """Add the next tokens [n]."""
        first = max(len(self._ids), 1)
        self._ids += token_ids
        for at in range(first, len(self._ids)):
            self._after[self._ids[at - 1], self._ids[at]].append(at + 1)

    def continuation(self, length: int) -> Continuation:
        """Return what followed where most of the last tokens stood before, the latest such place.

        A text that repeats itself up to its end goes on repeating itself, so that nothing is shorter than
        ``length``.

        Args:
            length: how many tokens to return; none are where the last two never stood before.
        """
        ids, end = self._ids, len(self._ids)
        if end <= _LEAST:
            return Continuation(0)
        places = self._after[ids[-2], ids[-1]]
        earlier = islice((at for at in reversed(places) if at < end), _PLACES)
        equal, start = max(((self._equal_before(at), at) for at in earlier), default=(0, end))
        if start == end:
            return Continuation(0)
        period = end - start
        return Continuation(equal, tuple(ids[start + i % period] for i in range(length)))

    def place_after(self, token_id: int) -> int | None:
        """Return the latest place behind the text's last token and another one; None where there is none."""
        places = self._after.get((self._ids[-1], token_id)) if self._ids else None
        return places[-1] if places else None

    def token_at(self, place: int) -> int | None:
        """Return the token at a place; None behind the end of the text."""
        return self._ids[place] if place < len(self._ids) else None

    def _equal_before(self, at: int) -> int:
        """Return how many tokens before ``at`` equal those at the end of the text."""
        ids, equal = self._ids, _LEAST
        most = min(MOST_EQUAL, at)
        while equal < most and ids[at - 1 - equal] == ids[-1 - equal]:
            equal += 1
        return equal
