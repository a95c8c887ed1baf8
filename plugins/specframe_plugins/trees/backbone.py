"""What a draft step asks of whatever turns tokens into hidden states."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Backbone(Protocol):
    """Reads what was emitted, then level by level what is drafted, b nodes each.

    What is drafted is forgotten at the next ``read``.
    """

    @property
    def root(self) -> Tensor:
        """The last emitted token [1] int64."""

    def read(self) -> Tensor:
        """Read what was emitted since the last step; return what the LM head reads after the root [1, H]."""

    def extend(self, token_ids: Tensor, rows: Tensor, level: int) -> Tensor:
        """Add a level of drafted nodes; return what the LM head reads after each [b, H].

        Args:
            token_ids: [b] int64.
            rows: each node's parent as a row of the level before [b] int64; all 0 for the first level.
            level: 1 for the children of the root.
        """
