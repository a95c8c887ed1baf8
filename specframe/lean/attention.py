"""Attention of new tokens over the cache and over each other."""

from __future__ import annotations

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor


@attrs.frozen(slots=True, eq=False)
class Visible:
    """Which cached positions the n new tokens of a pass see, in layers of one type.

    Attributes:
        first: the first position that any of them sees.
        stop: the end of the positions written.
        mask: added to the scores [shared * n, stop - first], 0 or the dtype's -inf; None when every token
            sees everything in between.
    """

    first: int
    stop: int
    mask: Tensor | None

    @classmethod
    def of(
        cls,
        positions: Tensor,
        among_new: Tensor,
        committed: int,
        window: int | None,
        shared: int,
        dtype: torch.dtype,
    ) -> Visible:
        """Return what n new tokens see.

        Args:
            positions: of the new tokens [n], none before ``committed``.
            among_new: who of them sees whom [n, n] bool.
            committed: positions in the cache, all visible but for the window.
            window: how many positions a token sees at most, itself included; None for all.
            shared: query heads per key head.
            dtype: of the scores.
        """
        n = len(positions)
        stop = committed + n
        first = 0 if window is None else max(0, committed - window + 1)
        if n == 1:
            return cls(first, stop, None)
        seen = F.pad(among_new, (committed - first, 0), value=True)
        if window is not None and stop > window:
            keys = torch.cat([torch.arange(first, committed, device=positions.device), positions])
            seen = seen & (keys > positions[:, None] - window)
        blocked = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
        return cls(first, stop, blocked.repeat(shared, 1))


def attend(query: Tensor, keys: Tensor, values: Tensor, visible: Visible, scale: float) -> Tensor:
    """Return the mixed values [n, heads * D].

    Query heads that share a key head are stacked as rows, so that no key is copied.

    Args:
        query: [n, heads, D].
        keys: [key heads, capacity, D].
        values: [key heads, capacity, D].
        visible: which positions count.
        scale: factor on the scores.
    """
    n, heads, head_dim = query.shape
    groups = keys.shape[0]
    shared = heads // groups
    rows = query.view(n, groups, shared, head_dim).permute(1, 2, 0, 3).reshape(groups, shared * n, head_dim)
    mixed = F.scaled_dot_product_attention(
        rows[None],
        keys[None, :, visible.first : visible.stop],
        values[None, :, visible.first : visible.stop],
        attn_mask=visible.mask,
        scale=scale,
    )
    return mixed.view(groups, shared, n, head_dim).permute(2, 0, 1, 3).reshape(n, heads * head_dim)
