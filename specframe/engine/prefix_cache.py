"""What the caches hold, and for whom: where the next turn of a conversation may go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from specframe.engine.drafting.protocol import Drafting
from specframe.model.target import Target


class PrefixCache:
    """Begins requests from nothing, or from the longest beginning that a turn shares with the one before.

    A chat template may write earlier text in other tokens than the target did, so ids are compared and never
    counted.

    Args:
        target: its KV cache is emptied or cut.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._ids: list[int] = []
        self._conversation: object | None = None
        self._begun = 0

    def begin(self, drafting: Drafting, prompt_ids: list[int], room: int, conversation: object) -> int:
        """Make room for a prompt and ``room`` more positions; return how many positions of it are kept.

        Until ``hold`` says what the caches contain, nothing may be kept of them.

        Args:
            drafting: says how much of the context its components can go on from.
            prompt_ids: [T].
            room: positions for new tokens and one draft tree.
            conversation: which one the prompt is a turn of; None for none.
        """
        shared = 0
        # Another engine, or somebody who scores a text, may have used the target since.
        untouched = self._begun == self._target.begun
        if untouched and conversation is not None and conversation is self._conversation:
            shared = _shared_beginning(self._ids, prompt_ids)
            border = self._target.long_from
            if border is not None and len(self._ids) <= border < len(prompt_ids):
                shared = 0  # what was read as part of a short text is rotated so
        kept = drafting.reusable(shared, len(prompt_ids))
        self.forget()
        self._target.begin(len(prompt_ids) + room, kept, drafting.demands.feature_layers)
        return kept

    def hold(self, prompt_ids: list[int], conversation: object) -> None:
        """Note that the target and the drafter have read a prompt."""
        self._ids, self._conversation, self._begun = prompt_ids, conversation, self._target.begun

    def extend(self, token_ids: Iterable[int]) -> None:
        """Note which tokens the target has committed."""
        self._ids += token_ids

    @contextmanager
    def unless_it_fails(self) -> Iterator[None]:
        """Forget everything if what is inside raises; to close an iterator is no failure."""
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Note that what the caches hold is not known."""
        self._ids, self._conversation = [], None


def _shared_beginning(left: list[int], right: list[int]) -> int:
    """Return how many first ids two sequences share."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (one, other) in pairs if one != other), min(len(left), len(right)))
