"""``sparse_head_topk``: each packed row is read once for all N, and no logit is written to memory."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from specframe_kernels.head_topk.blocks import block_logits
from specframe_kernels.head_topk.buffers import TopKBuffers
from specframe_kernels.head_topk.partial import topk_launches
from specframe_kernels.head_topk.tile import Tile
from specframe_kernels.launch import Launch, require_rows


@triton.jit(do_not_specialize=["n", "capacity"])
def _logits(
    hidden,
    packed,
    bias,
    count,
    out,
    n,
    capacity,
    scale,
    softcap,
    H: tl.constexpr,
    NODES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    active = tl.load(count)
    slot = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    node = tl.program_id(1) * NODES + tl.arange(0, NODES)
    at = out + node[:, None].to(tl.int64) * capacity + slot[None, :]
    inside = (node < n)[:, None] & (slot < capacity)[None, :]
    if tl.program_id(0) * ROWS >= active:
        tl.store(at, tl.full((NODES, ROWS), float("-inf"), tl.float32), mask=inside)
        return
    logits = block_logits(
        hidden, packed, bias, slot, slot < active, node, n, scale, softcap, H, NODES, ROWS, COLUMNS
    )
    tl.store(at, tl.where((slot < active)[None, :], logits, float("-inf")), mask=inside)


def launches(
    hidden: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    count: Tensor,
    token_of: Tensor | None,
    out: TopKBuffers,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> list[Launch]:
    """Return the pass over the rows and the merge; the arguments are those of ``sparse_head_topk``."""
    require_rows("packed", packed)
    return topk_launches(
        hidden,
        packed,
        bias,
        count,
        None,
        token_of,
        out,
        capacity=packed.shape[0],
        scale=scale,
        softcap=softcap,
    )


def logits_launches(
    hidden: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    count: Tensor,
    out: Tensor,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> list[Launch]:
    """Return the launch of the logits mode; the arguments are those of ``sparse_head_logits``."""
    require_rows("hidden", hidden)
    require_rows("packed", packed)
    n, capacity = out.shape
    tile = Tile.of(n, capacity, packed.dtype)
    return [
        Launch(
            kernel=_logits,
            grid=(triton.cdiv(capacity, tile.rows), triton.cdiv(n, tile.nodes)),
            arguments={
                "hidden": hidden,
                "packed": packed,
                "bias": bias,
                "count": count,
                "out": out,
                "n": n,
                "capacity": capacity,
                "scale": scale,
                "softcap": softcap,
                "H": packed.shape[1],
                "NODES": tile.nodes,
                "ROWS": tile.rows,
                "COLUMNS": tile.columns,
            },
            num_stages=tile.stages,
        )
    ]


def sparse_head_topk(
    hidden: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    count: Tensor,
    token_of: Tensor | None,
    out: TopKBuffers,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> None:
    """Write the k best active tokens of each hidden state to ``out``.

    Args:
        hidden: [N, H], in the dtype of ``packed``.
        packed: [capacity, H]; rows from ``count`` on may hold anything.
        bias: [capacity], or None.
        count: number of active tokens, [] int64.
        token_of: token id in each slot [capacity] int32; None where slots are token ids.
        out: buffers for N, k and capacity.
        scale: factor on the logits.
        softcap: bound of the logits; None for none.
    """
    for launch in launches(hidden, packed, bias, count, token_of, out, scale=scale, softcap=softcap):
        launch.run()


def sparse_head_logits(
    hidden: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    count: Tensor,
    out: Tensor,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> None:
    """Write the logits by slot to ``out`` [N, capacity] float32, -inf from ``count`` on.

    The other arguments are those of ``sparse_head_topk``.
    """
    for launch in logits_launches(hidden, packed, bias, count, out, scale=scale, softcap=softcap):
        launch.run()
