"""Which of the target's tokens a drafter's own LM head has rows for (EAGLE-3, arXiv 2503.01840)."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor


@attrs.frozen(slots=True, eq=False)
class ReducedVocabulary:
    """The tokens of an LM head with fewer rows than the target has tokens.

    Attributes:
        token_ids: the target's token id of each row [rows] int64, no id twice.
        row_of: row of each token id [V] int64; -1 for tokens without a row.
    """

    token_ids: Tensor
    row_of: Tensor

    @classmethod
    def of(cls, token_ids: Tensor, vocab_size: int) -> ReducedVocabulary:
        """Return the reduced vocabulary of ``token_ids`` [rows] for a target of V tokens."""
        row_of = torch.full((vocab_size,), -1, dtype=torch.int64, device=token_ids.device)
        row_of[token_ids] = torch.arange(len(token_ids), device=token_ids.device)
        return cls(token_ids, row_of)

    def tokens(self, rows: Tensor) -> Tensor:
        """Return the token ids of ``rows`` of any shape; negative rows, which are padding, become -1."""
        return torch.where(rows < 0, -1, self.token_ids[rows.clamp(min=0)])

    def knows(self, ids: Tensor) -> Tensor:
        """Return which of ``ids`` [n] have a row [n] bool."""
        return self.row_of[ids] >= 0
