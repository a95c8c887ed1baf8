"""``indexed_head_topk``: the packed one over rows selected on the spot."""

from __future__ import annotations

from torch import Tensor

from specframe_kernels.sparse_head_topk import naive as packed_head


def indexed_head_topk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    count: Tensor,
    token_of: Tensor,
    k: int,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens.

    Args:
        hidden: [N, H].
        weight: full LM head [V, H].
        bias: [V], or None.
        count: number of active tokens, [] int64.
        token_of: token id in each slot [capacity] int32; slots from ``count`` on may hold anything.
        k: how many.
        scale: factor on the logits.
        softcap: bound of the logits; None for none.
    """
    active = token_of[: int(count)].long()
    return packed_head.sparse_head_topk(
        hidden,
        weight[active],
        None if bias is None else bias[active],
        count,
        token_of,
        k,
        scale=scale,
        softcap=softcap,
    )
