"""The vocabulary of a strategy that prunes nothing: every row of the drafter's LM head is active."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import GatherBackend
from specframe.vocabulary.draft_head import DraftHead


class WholeVocabulary:
    """The ``DraftVocabulary`` over all rows of an LM head; there is nothing to admit.

    Args:
        output_head: the drafter's LM head.
        backend: is bound to it.

    Attributes:
        head: the backend, as the drafter sees it.
        head_tensors: the full LM head.
        device: where it is.
    """

    tensors: tuple[Tensor, ...] = ()
    rows_fetched = torch.tensor(0)
    unknown_ids = 0

    def __init__(self, output_head: OutputHead, backend: GatherBackend) -> None:
        self.output_head = output_head
        self.head = DraftHead(backend, output_head.row_map)
        self.active_size = torch.tensor(output_head.vocab_size)
        self.head_tensors, self.device = output_head.tensors, output_head.device
        self.head.bind(output_head, None)

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return which ids have a row [n] bool."""
        row_map = self.output_head.row_map
        if not row_map.reduced:
            return torch.ones(len(ids), dtype=torch.bool)
        return row_map.knows(torch.tensor(ids).to(self.output_head.device, non_blocking=True))

    def proposable(self, ids: tuple[int, ...]) -> Tensor:
        """Return which ids have a row [n] bool."""
        return self.covered(ids)

    def begin_draft(self) -> None:
        """Take a new draft: all of them go over the same rows."""
        self.head.begin_draft()

    def active_ids(self, count: int) -> Tensor:
        """Return the tokens of the first rows [count] int64."""
        return self.output_head.row_map.tokens(torch.arange(count, device=self.output_head.device))

    def reset(self) -> None:
        """Begin a request: everything stays active."""

    def admit(self, ids: Tensor) -> None:
        """Admit nothing: everything is active."""

    def drop(self, ids: Tensor) -> None:
        """Drop nothing: everything stays active."""
