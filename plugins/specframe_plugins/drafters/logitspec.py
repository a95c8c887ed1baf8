"""The drafter ``logitspec``: no head; the last logits say what may come after the next token too.

Source: LogitSpec (Liu et al., arXiv 2507.01449): tokens that the target found likely in place of the one that
it chose often come right after it. Each of them extends the end of the text, and what followed such an end
before is retrieved. What followed the end itself is retrieved as well, as in prompt lookup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.logitspec import LogitSpecOptions
from specframe_plugins.drafters.lookup.context import TextIndex
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.sources.source import Evidence, Guess, Seen, Source

# Of tokens that were not chosen, so many are expected to come next, by rank; far more of those that followed
# the chosen one before, and of what then followed these. On 42 texts of the demo models.
_RUNNERS_UP, _SAID_BEFORE, _FOLLOWED, _WEIGHT = (0.032, 0.015, 0.01), 0.4, 0.6, 4.0


class NextNextSource(Source):
    """Guesses the runners-up of the last logits, and below each what followed it before.

    Args:
        topk: of the target's ids to look at.
        length: tokens in a row at most.
    """

    name = "next-next"

    def __init__(self, topk: int, length: int) -> None:
        self.harvest_topk, self.depth = topk, length
        self.begin([])

    def begin(self, token_ids: Sequence[int]) -> None:
        """Begin with a prompt [T]."""
        self._text = TextIndex(token_ids)
        self._runners_up: Sequence[int] = ()

    def read(self, token_ids: Sequence[int]) -> None:
        """Add the next tokens; the last of them is the one that was chosen."""
        self._text.extend(token_ids)
        self._runners_up = [one for one in self._runners_up if one != token_ids[-1]]

    def learn(self, seen: Seen) -> None:
        """Note what the target found likely after the last accepted node."""
        self._runners_up = seen.top_ids[seen.last]

    def after(self, path: Sequence[int], state: object) -> Iterable[Guess]:
        """Return the runners-up, or the token that followed an earlier place."""
        if not path:
            return [self._runner_up(rank, token_id) for rank, token_id in enumerate(self._runners_up)]
        if not isinstance(state, int):
            return ()
        token_id = self._text.token_at(state)
        if token_id is None:
            return ()
        return (Guess(token_id, (self.name, "followed", min(len(path), 4)), state + 1),)

    def prior(self, evidence: Evidence) -> tuple[float, float]:
        """Return what is expected of a rank, and of what followed before."""
        _, kind, at = evidence
        assert isinstance(at, int)
        likely = {"followed": _FOLLOWED, "said": _SAID_BEFORE}.get(str(kind), _RUNNERS_UP[min(at, 2)])
        return _WEIGHT * likely, _WEIGHT

    def _runner_up(self, rank: int, token_id: int) -> Guess:
        place = self._text.place_after(token_id)
        return Guess(token_id, (self.name, "new" if place is None else "said", rank), place)


def sources_of(options: LogitSpecOptions) -> list[Source]:
    """Return the sources that options ask for."""
    return [LookupSource(options.length), NextNextSource(options.topk, options.length)]


def create(options: LogitSpecOptions, context: BuildContext) -> SourceDrafter:
    """Return the drafter."""
    return SourceDrafter(sources_of(options), options.nodes)
