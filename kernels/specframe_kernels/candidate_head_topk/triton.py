"""``candidate_head_topk``: each candidate's row is read where it is, and no logit is written to memory."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from specframe_kernels.head_topk.blocks import finished, store_partial
from specframe_kernels.head_topk.buffers import TopKBuffers
from specframe_kernels.head_topk.merge import merge
from specframe_kernels.head_topk.partial import partial_launch
from specframe_kernels.head_topk.tile import CANDIDATES_PER_BLOCK, block_rows, candidate_blocks
from specframe_kernels.launch import Launch, require_rows

_COLUMNS = 256


@triton.jit(do_not_specialize=["n", "blocks", "vocab_size"])
def _candidates(
    hidden,
    weight,
    bias,
    candidates,
    slot_of,
    keys,
    peaks,
    totals,
    n,
    blocks,
    vocab_size,
    scale,
    softcap,
    K: tl.constexpr,
    H: tl.constexpr,
    C: tl.constexpr,
    CAPACITY: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    block = tl.program_id(0)
    state = tl.program_id(1).to(tl.int64)
    at = block * ROWS + tl.arange(0, ROWS)
    row = tl.load(candidates + state * C + at, mask=at < C, other=-1)
    present = (row >= 0) & (row < vocab_size)
    if slot_of is not None:  # what is active is in the blocks of the active set
        present &= tl.load(slot_of + row, mask=present, other=0) < 0

    # Every state has rows of its own, so there is no matrix to multiply.
    products = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, H, COLUMNS):
        column = start + tl.arange(0, COLUMNS)[None, :]
        h = tl.load(hidden + state * H + column, mask=column < H, other=0.0)
        inside = present[:, None] & (column < H)
        w = tl.load(weight + row[:, None] * H + column, mask=inside, other=0.0)
        products += h.to(tl.float32) * w.to(tl.float32)
    raw = tl.sum(products, 1)
    if bias is not None:
        raw += tl.load(bias + row, mask=present, other=0.0).to(tl.float32)
    logits = finished(raw, scale, softcap)[None, :]
    node = tl.program_id(1) + tl.arange(0, 1)
    store_partial(logits, CAPACITY + at, present, node, n, block, blocks, keys, peaks, totals, K)


def launches(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    candidates: Tensor,
    out: TopKBuffers,
    *,
    count: Tensor,
    slot_of: Tensor,
    token_of: Tensor,
    packed: tuple[Tensor, Tensor | None] | None = None,
    log_sums: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> list[Launch]:
    """Return the pass over the candidates, that over the active set where it has slots, and the merge.

    The arguments are those of ``candidate_head_topk``.
    """
    require_rows("hidden", hidden)
    require_rows("weight", weight)
    require_rows("candidates", candidates)
    n, blocks, k = out.keys.shape
    capacity, before = token_of.shape[0], candidate_blocks(candidates.shape[1])
    parts = [
        Launch(
            kernel=_candidates,
            grid=(before, n),
            arguments={
                "hidden": hidden,
                "weight": weight,
                "bias": bias,
                "candidates": candidates,
                "slot_of": slot_of if capacity else None,
                "keys": out.keys,
                "peaks": out.peaks,
                "totals": out.totals,
                "n": n,
                "blocks": blocks,
                "vocab_size": weight.shape[0],
                "scale": scale,
                "softcap": softcap,
                "K": k,
                "H": weight.shape[1],
                "C": candidates.shape[1],
                "CAPACITY": capacity,
                "ROWS": CANDIDATES_PER_BLOCK,
                "COLUMNS": min(_COLUMNS, triton.next_power_of_2(weight.shape[1])),
            },
            num_stages=3,
        )
    ]
    if capacity:
        rows, row_bias = (weight, bias) if packed is None else packed
        row_of = token_of if packed is None else None
        parts.append(
            partial_launch(
                hidden,
                rows,
                row_bias,
                count,
                row_of,
                out,
                capacity=capacity,
                before=before,
                scale=scale,
                softcap=softcap,
            )
        )
    last = merge(
        out,
        count,
        token_of if capacity else None,
        block_rows(capacity),
        capacity=capacity,
        candidates=candidates,
        log_sums=log_sums,
    )
    return [*parts, last]


def candidate_head_topk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    candidates: Tensor,
    out: TopKBuffers,
    *,
    count: Tensor,
    slot_of: Tensor,
    token_of: Tensor,
    packed: tuple[Tensor, Tensor | None] | None = None,
    log_sums: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> None:
    """Write the k best of each hidden state's candidates and the active set to ``out``.

    Args:
        hidden: [N, H], in the dtype of ``weight``.
        weight: full LM head [V, H].
        bias: [V], or None.
        candidates: rows of each hidden state, none twice [N, C] int64; outside the head for none.
        out: buffers for N, k, capacity and C.
        count: number of active tokens, [] int64.
        slot_of: slot of each row [V] int32; -1 for those that are not active.
        token_of: row in each slot [capacity] int32; slots from ``count`` on may hold anything.
        packed: copies of the active rows [capacity, H], and of their bias; None to read them from the head.
        log_sums: log-sum-exp to take log-probabilities by [N] float32; None for that of both.
        scale: factor on the logits.
        softcap: bound of the logits; None for none.
    """
    for launch in launches(
        hidden,
        weight,
        bias,
        candidates,
        out,
        count=count,
        slot_of=slot_of,
        token_of=token_of,
        packed=packed,
        log_sums=log_sums,
        scale=scale,
        softcap=softcap,
    ):
        launch.run()
