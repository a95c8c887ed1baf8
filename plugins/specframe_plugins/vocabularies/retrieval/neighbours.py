"""The nearest tokens of a token, by the rows of an embedding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from specframe.ops.row_maxima import row_topk

# Directions that are kept, and tokens that are compared with all others at once: bounds the time of a token
# to V x 128 products, and memory to 64 x V similarities.
_DIRECTIONS, _AT_ONCE = 128, 64
_ROWS_AT_ONCE = 8192
# Directions with less of the largest variance are left flat: what is in them is rounding.
_FLAT, _TINY = 1e-6, 1e-30


class Neighbours:
    """Finds the neighbours of a token when it is first asked for, and keeps them: V x m ids at most.

    Rows are centred and whitened in their leading directions, since the rows of language models lie in a
    narrow cone around what frequent tokens have in common. Near is what has a large cosine then.

    Args:
        embed: returns the rows of ids [n] as [n, H].
        vocab_size: V.
        count: m, neighbours of a token.
        device: where ids are.
    """

    def __init__(
        self, embed: Callable[[Tensor], Tensor], vocab_size: int, count: int, device: torch.device
    ) -> None:
        self._embed, self._count = embed, min(count, vocab_size - 1)
        self._nearest = torch.full((vocab_size, self._count), -1, dtype=torch.int32, device=device)
        self._rows = self._whitened()

    def of(self, ids: Tensor) -> Tensor:
        """Return the neighbours of distinct ``ids`` [n], each one's m nearest [n * m] int64."""
        unknown = ids[self._nearest[ids, 0] < 0]
        if len(unknown):
            for part in unknown.split(_AT_ONCE):
                near = row_topk(self._rows[part] @ self._rows.T, self._count + 1)[1]
                # A token is its own nearest, but where others have its very row.
                itself = near == part[:, None]
                itself[:, -1] |= ~itself.any(dim=1)
                self._nearest[part] = near[~itself].view(len(part), self._count).int()
        return self._nearest[ids].flatten().long()

    @torch.inference_mode()
    def _whitened(self) -> Tensor:
        """Return the rows in their leading directions, whitened, of length 1 [V, at most 128]."""
        every = torch.arange(len(self._nearest), device=self._nearest.device)
        rows = torch.cat([self._embed(part).float() for part in every.split(_ROWS_AT_ONCE)])
        rows -= rows.mean(dim=0)
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        kept = slice(-min(_DIRECTIONS, rows.shape[1]), None)
        scale = values[kept].clamp(min=_FLAT * float(values[-1]) + _TINY).rsqrt()
        return torch.nn.functional.normalize(rows @ (vectors[:, kept] * scale))
