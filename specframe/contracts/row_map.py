"""Which of the target's tokens a drafter's LM head has rows for (EAGLE-3, arXiv 2503.01840)."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor


@attrs.frozen(slots=True, eq=False)
class RowMap:
    """The map between the rows of an LM head and the target's token ids.

    Attributes:
        vocab_size: V of the target.
        token_ids: the token id of each row [rows] int64, no id twice; None where row i is token i.
        row_of: row of each token id [V] int64, -1 for tokens without a row; None likewise.
    """

    vocab_size: int
    token_ids: Tensor | None = None
    row_of: Tensor | None = None

    @classmethod
    def of(cls, token_ids: Tensor, vocab_size: int) -> RowMap:
        """Return the map of a head whose rows are ``token_ids`` [rows], for a target of V tokens."""
        row_of = torch.full((vocab_size,), -1, dtype=torch.int64, device=token_ids.device)
        row_of[token_ids] = torch.arange(len(token_ids), device=token_ids.device)
        return cls(vocab_size, token_ids, row_of)

    @property
    def reduced(self) -> bool:
        """Whether there are tokens without a row, or rows in another order than their tokens."""
        return self.token_ids is not None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it holds."""
        return () if self.token_ids is None or self.row_of is None else (self.token_ids, self.row_of)

    def tokens(self, rows: Tensor) -> Tensor:
        """Return the token ids of ``rows`` of any shape; negative rows, which are padding, become -1."""
        if self.token_ids is None:
            return rows
        return torch.where(rows < 0, -1, self.token_ids[rows.clamp(min=0)])

    def rows(self, ids: Tensor) -> Tensor:
        """Return the rows of ``ids`` [n], each in the vocabulary; -1 for those without one."""
        return ids if self.row_of is None else self.row_of[ids]

    def knows(self, ids: Tensor) -> Tensor:
        """Return which of ``ids`` [n] have a row [n] bool."""
        return self.rows(ids) >= 0
