"""What a token source is: something that guesses, without a head, what may follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence

import attrs

# What a guess goes by, such as that so many tokens before it stood there before: guesses with the same
# evidence are expected to be right equally often.
Evidence = tuple[Hashable, ...]


@attrs.frozen(slots=True)
class Guess:
    """A token that may come next.

    Attributes:
        token_id: the token.
        evidence: what it goes by.
        state: what its source needs to go on from it.
    """

    token_id: int
    evidence: Evidence
    state: object = None


@attrs.frozen(slots=True)
class Seen:
    """What the target said about one draft tree of N nodes, on the host.

    Attributes:
        before: token before the root.
        token_ids: of the nodes [N].
        parents: of the nodes [N]; -1 for the root and its copies.
        top_ids: the target's top ids after each [N][k].
        probabilities: of these [N][k]; None where no source asked for them.
        last: the accepted node that the path ends at.
    """

    before: int
    token_ids: Sequence[int]
    parents: Sequence[int]
    top_ids: Sequence[Sequence[int]]
    last: int
    probabilities: Sequence[Sequence[float]] | None = None

    def first(self, k: int) -> Seen:
        """Return the same with the first ``k`` of the target's top ids."""
        if len(self.top_ids[0]) == k:
            return self
        likely = self.probabilities
        return attrs.evolve(
            self,
            top_ids=[row[:k] for row in self.top_ids],
            probabilities=None if likely is None else [row[:k] for row in likely],
        )


class Source(ABC):
    """Guesses what may follow a text; how likely that is is learnt from how often its guesses were right.

    Attributes:
        name: what its evidence begins with.
        depth: tokens that it guesses in a row at most.
        harvest_topk: how many of the target's top ids per verified node it wants to see; 0 for none.
        harvest_log_probs: it wants to know how likely they are.
        prompt_window: for how many of the last prompt positions it wants them too; 0 for none.
    """

    name: str
    depth: int
    harvest_topk: int = 0
    harvest_log_probs: bool = False
    prompt_window: int = 0

    @abstractmethod
    def begin(self, token_ids: Sequence[int]) -> None:
        """Begin a request with its prompt [T]; forget the text of the one before."""

    @abstractmethod
    def read(self, token_ids: Sequence[int]) -> None:
        """Add what one target pass emitted to the text."""

    @abstractmethod
    def after(self, path: Sequence[int], state: object) -> Iterable[Guess]:
        """Return what may follow the text and a path below it, no token twice.

        Args:
            path: tokens below the end of the text; empty for the end itself.
            state: of the guess that the path ends with; None where the path is empty or another source
                guessed its last token.
        """

    @abstractmethod
    def prior(self, evidence: Evidence) -> tuple[float, float]:
        """Return how many of how many guesses with some evidence are taken to have been right before any was.

        The second number is the weight of what is only expected; both are above 0.
        """

    def learn(self, seen: Seen) -> None:  # noqa: B027 - optional
        """Learn from one target pass; comes before ``read`` is told what it emitted."""

    def learn_prompt(self, token_ids: Sequence[int], top_ids: Sequence[Sequence[int]]) -> None:  # noqa: B027
        """Learn the target's top ids [P][k] after the last prompt tokens [P]; comes after ``begin``."""

    def forget(self) -> None:  # noqa: B027 - optional
        """Forget what was learnt in earlier requests."""
