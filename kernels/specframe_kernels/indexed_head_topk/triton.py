"""``indexed_head_topk``: nothing is packed; each row of the full head is read once for all N."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from specframe_kernels.head_topk.blocks import block_logits, store_partial
from specframe_kernels.head_topk.buffers import TopKBuffers
from specframe_kernels.head_topk.merge import merge
from specframe_kernels.head_topk.tile import Tile
from specframe_kernels.launch import Launch, require_rows


@triton.jit(do_not_specialize=["n", "blocks"])
def _partial(
    hidden,
    weight,
    bias,
    count,
    token_of,
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
):
    block = tl.program_id(0)
    active = tl.load(count)
    if block * ROWS >= active:
        return
    slot = block * ROWS + tl.arange(0, ROWS)
    row = tl.load(token_of + slot, mask=slot < active, other=0)
    node = tl.program_id(1) * NODES + tl.arange(0, NODES)
    logits = block_logits(
        hidden, weight, bias, row, slot < active, node, n, scale, softcap, H, NODES, ROWS, COLUMNS
    )
    store_partial(logits, slot, slot < active, node, n, block, blocks, keys, peaks, totals, K)


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
    require_rows("hidden", hidden)
    require_rows("weight", weight)
    n, blocks, k = out.keys.shape
    tile = Tile.of(n, token_of.shape[0], weight.dtype)
    first = Launch(
        kernel=_partial,
        grid=(blocks, triton.cdiv(n, tile.nodes)),
        arguments={
            "hidden": hidden,
            "weight": weight,
            "bias": bias,
            "count": count,
            "token_of": token_of,
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
        },
        num_stages=tile.stages,
    )
    return [first, merge(out, count, token_of, tile.rows)]


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
