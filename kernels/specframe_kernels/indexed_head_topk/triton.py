"""``indexed_head_topk``: nothing is packed; each row of the full head is read once for all N."""

from __future__ import annotations

from torch import Tensor

from specframe_kernels.head_topk.buffers import TopKBuffers
from specframe_kernels.head_topk.partial import topk_launches
from specframe_kernels.launch import Launch, require_rows


def launches(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    count: Tensor,
    token_of: Tensor,
    out: TopKBuffers,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> list[Launch]:
    """Return the pass over the rows and the merge; the arguments are those of ``indexed_head_topk``."""
    require_rows("weight", weight)
    return topk_launches(
        hidden,
        weight,
        bias,
        count,
        token_of,
        token_of,
        out,
        capacity=token_of.shape[0],
        scale=scale,
        softcap=softcap,
    )


def indexed_head_topk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    count: Tensor,
    token_of: Tensor,
    out: TopKBuffers,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> None:
    """Write the k best active tokens of each hidden state to ``out``.

    Args:
        hidden: [N, H], in the dtype of ``weight``.
        weight: full LM head [V, H].
        bias: [V], or None.
        count: number of active tokens, [] int64.
        token_of: token id in each slot [capacity] int32; slots from ``count`` on may hold anything.
        out: buffers for N, k and capacity.
        scale: factor on the logits.
        softcap: bound of the logits; None for none.
    """
    for launch in launches(hidden, weight, bias, count, token_of, out, scale=scale, softcap=softcap):
        launch.run()
