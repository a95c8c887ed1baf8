"""What a drafter without an LM head drafts over: every token, with nothing packed and nothing to admit."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.called.drafter import SeenHead
from specframe.contracts.faults import ComponentError, WrongCall
from specframe.contracts.lm_head import OutputHead


class _NoHead(SeenHead):
    """In the place of the LM head: whoever asks it is told that there is none."""

    def fault(self) -> ComponentError | None:
        """Return None: nothing is answered."""
        return None

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Refuse."""
        raise _asked()

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Refuse."""
        raise _asked()

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Refuse."""
        raise _asked()

    def logits(self, hidden: Tensor) -> Tensor:
        """Refuse."""
        raise _asked()


class EveryToken:
    """The ``DraftVocabulary`` of a drafter without an LM head.

    Args:
        vocab_size: V of the target.
        device: of the target.

    Attributes:
        head: raises ``WrongCall``.
        device: of the target.
    """

    tensors: tuple[Tensor, ...] = ()
    head_tensors: tuple[Tensor, ...] = ()
    rows_fetched = torch.tensor(0)
    unknown_ids = 0

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self.head: SeenHead = _NoHead()
        self.device = device
        self.active_size = torch.tensor(vocab_size)

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return that every id may be proposed [n] bool."""
        return torch.ones(len(ids), dtype=torch.bool)

    def proposable(self, ids: tuple[int, ...]) -> Tensor:
        """Return that every id may be proposed [n] bool."""
        return self.covered(ids)

    def active_ids(self, count: int) -> Tensor:
        """Refuse: there are no logits that have columns."""
        raise _asked()

    def begin_draft(self) -> None:
        """Do nothing."""

    def reset(self) -> None:
        """Begin a request: nothing changes."""

    def admit(self, ids: Tensor) -> None:
        """Admit nothing: every token may be proposed."""

    def drop(self, ids: Tensor) -> None:
        """Drop nothing."""


def _asked() -> WrongCall:
    return WrongCall("asks for an LM head and declares no output_head; allowed: one that is declared")
