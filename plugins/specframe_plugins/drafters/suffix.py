"""The drafter ``suffix``: no head; all places where the text ended like this, and what followed how often.

Source: SuffixDecoding (Oliaro et al., arXiv 2411.04975): a suffix tree over the prompt, this output and,
where the user asks for it, earlier outputs; continuations are weighed by how often they followed. Here the
places are kept by their last token, the latest of them are compared, and a continuation's probability is how
often ones with such a match and such a share were right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import attrs

from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.suffix import SuffixOptions
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.sources.source import Evidence, Guess, Source

# The latest places that are compared, and the longest match that is told from longer ones.
_PLACES, _MOST_EQUAL = 24, 16
# How often a token is expected to follow again that always followed a match of 1, 2, 3, 4 to 7, 8 to 15, and
# more tokens: once, twice, more often. And one that followed in fewer than a quarter of the places, in up to
# half of them, in more. On 42 texts of the demo models.
_ALWAYS = (
    (0.35, 0.55, 0.85),
    (0.57, 0.72, 0.85),
    (0.65, 0.8, 0.9),
    (0.78, 0.88, 0.95),
    (0.9, 0.97, 0.99),
    (0.95, 0.99, 0.99),
)
_SOMETIMES = (0.04, 0.2, 0.5)
_WEIGHT = 4.0
_ALL = 3


@attrs.frozen(slots=True)
class _Place:
    """Where the text may be going on: what comes next there, and how many tokens before it are equal."""

    at: int
    equal: int


class SuffixSource(Source):
    """Guesses what followed earlier places, by match and share.

    Args:
        length: tokens in a row at most.
        tokens: of earlier texts to keep besides the request's own.
    """

    name = "suffix"

    def __init__(self, length: int, tokens: int) -> None:
        self.depth, self._most = length, tokens
        self.forget()
        self.begin([])

    def forget(self) -> None:
        """Forget all texts but the one that is being read."""
        self._ids: list[int] = []
        self._after: defaultdict[int, list[int]] = defaultdict(list)

    def begin(self, token_ids: Sequence[int]) -> None:
        """Begin with a prompt [T], after what is kept of the texts before."""
        if len(self._ids) > self._most:
            # To forget the oldest is to read the others anew, so it is a quarter at once: few requests wait.
            kept = self._ids[len(self._ids) - self._most * 3 // 4 :]
            self.forget()
            self.read(kept)
        self._begins = len(self._ids)
        self.read(token_ids)

    def read(self, token_ids: Sequence[int]) -> None:
        """Add the next tokens."""
        for token_id in token_ids:
            self._ids.append(token_id)
            self._after[token_id].append(len(self._ids))

    def after(self, path: Sequence[int], state: object) -> Iterable[Guess]:
        """Return what followed the places that a path has followed so far."""
        places = state if isinstance(state, tuple) else () if path else self._places()
        if not places:
            return ()
        following: dict[int, list[_Place]] = {}
        for place in places:
            # A text that repeats itself up to its end goes on along the path.
            beyond = place.at - len(self._ids)
            token_id = self._ids[place.at] if beyond < 0 else path[beyond]
            following.setdefault(token_id, []).append(place)
        longest: dict[int, int] = {
            token_id: max(place.equal for place in those) for token_id, those in following.items()
        }
        # Of the places with a match at least as long, the share that a token followed.
        matches = Counter(_bucket(place.equal) for place in places)
        guesses = []
        for token_id, those in following.items():
            match = _bucket(longest[token_id])
            among = sum(count for one, count in matches.items() if one >= match)
            count = sum(_bucket(place.equal) >= match for place in those)
            share = _ALL if count == among else 2 if 2 * count > among else 1 if 4 * count > among else 0
            further = tuple(_Place(place.at + 1, place.equal + 1) for place in those)
            guesses.append(Guess(token_id, (self.name, match, share, min(count, 3)), further))
        return guesses

    def prior(self, evidence: Evidence) -> tuple[float, float]:
        """Return what is expected of a match and a share."""
        _, match, share, count = evidence
        assert isinstance(match, int)
        assert isinstance(share, int)
        assert isinstance(count, int)
        likely = _ALWAYS[match][count - 1] if share == _ALL else _SOMETIMES[share]
        return _WEIGHT * likely, _WEIGHT

    def _places(self) -> tuple[_Place, ...]:
        """Return the latest places behind the last token of the text, but for its end."""
        if not self._ids:
            return ()
        ends = self._after[self._ids[-1]]
        latest = ends[-_PLACES - 1 : -1]
        return tuple(_Place(at, self._equal_before(at)) for at in latest)

    def _equal_before(self, at: int) -> int:
        """Return how many tokens before a place equal the last ones of the text."""
        ids, end, equal = self._ids, len(self._ids), 1
        most = min(_MOST_EQUAL, at, end - self._begins)
        while equal < most and ids[at - 1 - equal] == ids[end - 1 - equal]:
            equal += 1
        return equal


def _bucket(equal: int) -> int:
    equal = min(equal, _MOST_EQUAL)
    return equal - 1 if equal < 4 else equal.bit_length()


def source_of(options: SuffixOptions) -> SuffixSource:
    """Return the source that options ask for."""
    return SuffixSource(options.length, options.tokens)


def create(options: SuffixOptions, context: BuildContext) -> SourceDrafter:
    """Return the drafter."""
    return SourceDrafter([source_of(options)], options.nodes)
