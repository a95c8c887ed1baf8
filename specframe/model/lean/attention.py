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
        mask: added to the scores [n * shared, stop - first], 0 or -inf; None when every token sees everything
            in between.
    """

    first: int
    stop: int
    mask: Tensor | None

    @classmethod
    def of(
        cls,
        positions: Tensor,
        mask: Tensor,
        committed: int,
        window: int | None,
        shared: int,
        dtype: torch.dtype,
        context: int | None = None,
    ) -> Visible:
        """Return what n new tokens see.

        Args:
            positions: of the m nodes since the last commit [m], none before ``committed``; the new tokens are
                the last n of them.
            mask: which nodes the new tokens see [n, m] bool.
            committed: positions in the cache, all visible but for the window.
            window: how many positions a token sees at most, itself included; None for all.
            shared: query heads per key head.
            dtype: of the scores.
            context: how many of the committed positions are visible; None for all.
        """
        n, m = mask.shape
        stop = committed + m
        context = committed if context is None else context
        first = 0 if window is None else max(0, context - window + 1)
        if m == 1 and context == committed:
            return cls(first, stop, None)
        seen = F.pad(mask, (committed - first, 0), value=True)
        seen[:, context - first : committed - first] = False
        if window is not None and stop > window:
            keys = torch.cat([torch.arange(first, committed, device=positions.device), positions])
            seen = seen & (keys > positions[-n:, None] - window)
        blocked = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
        return cls(first, stop, blocked.repeat_interleave(shared, dim=0))


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Return the mixed values [n, shared * key heads * D]: head ``s`` of every key head, then head ``s + 1``.

    Query heads that share a key head are stacked as rows, so that no key is copied; in this order of heads
    the result needs no copy either.

    Args:
        query: [n, key heads * shared, D], heads that share a key head side by side.
        keys: [1, key heads, S, D].
        values: [1, key heads, S, D].
        mask: added to the scores [n * shared, S]; None for none.
        scale: factor on the scores.
    """
    n, heads, head_dim = query.shape
    groups = keys.shape[1]
    shared = heads // groups
    rows = (
        query.view(n, groups, shared, head_dim).permute(1, 0, 2, 3).reshape(1, groups, n * shared, head_dim)
    )
    mixed = F.scaled_dot_product_attention(rows, keys, values, attn_mask=mask, scale=scale)
    return mixed.transpose(1, 2).reshape(n, heads * head_dim)
