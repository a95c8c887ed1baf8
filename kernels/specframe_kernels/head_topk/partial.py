"""The pass over the rows of the active slots, and the merge that follows it."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from specframe_kernels.head_topk.blocks import block_logits, store_partial
from specframe_kernels.head_topk.buffers import TopKBuffers
from specframe_kernels.head_topk.merge import merge
from specframe_kernels.head_topk.tile import Tile, block_rows
from specframe_kernels.launch import Launch, require_rows


@triton.jit(do_not_specialize=["n", "blocks"])
def _partial(
    hidden,
    weight,
    bias,
    count,
    row_of,
    keys,
    peaks,
    totals,
    n,
    blocks,
    scale,
    softcap,
    K: tl.constexpr,
    H: tl.constexpr,
    NODES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BEFORE: tl.constexpr,
):
    block = tl.program_id(0)
    active = tl.load(count)
    if block * ROWS >= active:
        return
    slot = block * ROWS + tl.arange(0, ROWS)
    row = slot
    if row_of is not None:
        row = tl.load(row_of + slot, mask=slot < active, other=0)
    node = tl.program_id(1) * NODES + tl.arange(0, NODES)
    logits = block_logits(
        hidden, weight, bias, row, slot < active, node, n, scale, softcap, H, NODES, ROWS, COLUMNS
    )
    store_partial(logits, slot, slot < active, node, n, BEFORE + block, blocks, keys, peaks, totals, K)


def partial_launch(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    count: Tensor,
    row_of: Tensor | None,
    out: TopKBuffers,
    *,
    capacity: int,
    scale: float,
    softcap: float | None,
    before: int = 0,
) -> Launch:
    """Return the pass over the rows of the active slots.

    Args:
        hidden: [N, H], in the dtype of ``weight``.
        weight: [rows, H].
        bias: [rows], or None.
        count: number of active tokens, [] int64.
        row_of: row of ``weight`` for each slot [capacity] int32; None where slots are rows.
        out: buffers for N, k and ``capacity``.
        capacity: number of slots.
        scale: factor on the logits.
        softcap: bound of the logits; None for none.
        before: blocks of ``out`` that are for candidates.
    """
    require_rows("hidden", hidden)
    n, blocks, k = out.keys.shape
    tile = Tile.of(n, capacity, weight.dtype)
    return Launch(
        kernel=_partial,
        grid=(blocks - before, triton.cdiv(n, tile.nodes)),
        arguments={
            "hidden": hidden,
            "weight": weight,
            "bias": bias,
            "count": count,
            "row_of": row_of,
            "keys": out.keys,
            "peaks": out.peaks,
            "totals": out.totals,
            "n": n,
            "blocks": blocks,
            "scale": scale,
            "softcap": softcap,
            "K": k,
            "H": weight.shape[1],
            "NODES": tile.nodes,
            "ROWS": tile.rows,
            "COLUMNS": tile.columns,
            "BEFORE": before,
        },
        num_stages=tile.stages,
    )


def topk_launches(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    count: Tensor,
    row_of: Tensor | None,
    token_of: Tensor | None,
    out: TopKBuffers,
    *,
    capacity: int,
    scale: float,
    softcap: float | None,
) -> list[Launch]:
    """Return the pass over the rows and the merge.

    Args:
        hidden: [N, H], in the dtype of ``weight``.
        weight: [rows, H].
        bias: [rows], or None.
        count: number of active tokens, [] int64.
        row_of: row of ``weight`` for each slot [capacity] int32; None where slots are rows.
        token_of: token id in each slot [capacity] int32; None where slots are token ids.
        out: buffers for N, k and ``capacity``.
        capacity: number of slots.
        scale: factor on the logits.
        softcap: bound of the logits; None for none.
    """
    first = partial_launch(
        hidden, weight, bias, count, row_of, out, capacity=capacity, scale=scale, softcap=softcap
    )
    return [first, merge(out, count, token_of, block_rows(capacity), capacity=capacity)]
