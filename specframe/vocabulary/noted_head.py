"""An LM head whose hidden states are noted on their way to it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.called.drafter import SeenHead
from specframe.contracts.faults import ComponentError
from specframe.contracts.lm_head import OutputHead


class NotedHead(SeenHead):
    """What a drafter sees as its LM head; it is never captured, so that every call is noted.

    Args:
        head: does the work, and is bound already.
        note: is given the hidden states [N, H] of every call.
    """

    def __init__(self, head: SeenHead, note: Callable[[Tensor], None]) -> None:
        self._head, self._note = head, note

    def fault(self) -> ComponentError | None:
        """Return what the head answered wrongly, or None."""
        return self._head.fault()

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Do nothing: what does the work is bound."""

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy the rows ``ids`` [n] of the LM head into ``slots`` [n]."""
        self._head.fetch(slots, ids)

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best."""
        self._note(hidden)
        return self._head.topk(hidden, k)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of whatever may be drafted [N, columns] float32."""
        self._note(hidden)
        return self._head.logits(hidden)

    def join(self) -> None:
        """Let what is launched next wait for rows that are still being fetched."""
        self._head.join()

    def held(self) -> tuple[Tensor, ...]:
        """Return what the head holds."""
        return self._head.held()
