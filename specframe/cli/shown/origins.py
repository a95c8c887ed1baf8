"""What an emitted token can have come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from specframe.contracts.drafted_pass import DraftedPass

# Token sources that repeat what stood in the text before.
_COPYING = ("lookup", "suffix")


@attrs.frozen(slots=True)
class Origin:
    """What a token came from.

    Attributes:
        key: name for programs.
        label: name in a legend.
        meaning: what it means, a sentence.
        drafted: it was drafted and accepted; the rest is the target's own.
        place: of a token source, which one it is, from 0 on.
    """

    key: str
    label: str
    meaning: str
    drafted: bool = False
    place: int | None = None


FIRST = Origin("first", "first token", "The first token comes from reading the prompt.")
BONUS = Origin(
    "bonus", "bonus", "Everything drafted on the path was right, and the target adds a token of its own."
)
RECOVERED = Origin(
    "recovered", "recovered", "The target's own token, where the draft did not have it: a drafter miss."
)
OUTSIDE = Origin(
    "outside",
    "not active",
    "The target's own token, which was not in the active set, so that it could not be drafted: an OOV "
    "rejection.",
)
ALONE = Origin("alone", "not drafted", "The target's own token of a pass without a draft.")


class Origins:
    """Tells what tokens came from; token sources are known as soon as one of their tokens was seen.

    Args:
        drafter: name of the drafter.
        has_head: it drafts with an LM head.
    """

    def __init__(self, drafter: str, *, has_head: bool) -> None:
        label = f"{drafter}, by its head" if has_head else drafter
        self._own = Origin("drafted", label, f"Drafted by {drafter} and accepted.", drafted=True)
        self._sources: dict[str, Origin] = {}

    @property
    def all(self) -> list[Origin]:
        """All that there are, in the order of a legend."""
        return [self._own, *self._sources.values(), BONUS, RECOVERED, OUTSIDE, FIRST, ALONE]

    def of_pass(self, passed: DraftedPass) -> list[Origin]:
        """Return the origin of every token that a target pass emitted, and note what its nodes came from."""
        for node in passed.nodes[1:]:
            self.of_source(node.source)
        accepted = [self.of_source(passed.nodes[place].source) for place in passed.path[1:]]
        return [*accepted, _of_next(passed)][: len(passed.emitted_ids)]

    def of_source(self, name: str | None) -> Origin:
        """Return the origin of what a token source drafted; of the drafter itself for None."""
        if name is None:
            return self._own
        known = self._sources.get(name)
        if known is None:
            copies = name in _COPYING
            label = f"copied ({name})" if copies else name
            what = "copied from the text before" if copies else f"proposed by the token source {name}"
            place = len(self._sources)
            meaning = f"Drafted without the head, {what}, and accepted."
            known = Origin(f"source-{place}", label, meaning, drafted=True, place=place)
            self._sources[name] = known
        return known


def counted(origins: Iterable[Origin]) -> Counter[Origin]:
    """Return how often each origin is there."""
    return Counter(origins)


def _of_next(passed: DraftedPass) -> Origin:
    """Return the origin of the token that the target adds."""
    if len(passed.nodes) == 1:
        return ALONE
    return {None: BONUS, "drafter_miss": RECOVERED, "oov": OUTSIDE}[passed.rejection]
