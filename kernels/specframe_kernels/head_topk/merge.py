"""From the k best of every block to the k best of all, and from partial sums to log-probabilities."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from specframe_kernels.head_topk.blocks import EMPTY, HIGHEST, key_logit, key_slot
from specframe_kernels.head_topk.buffers import TopKBuffers
from specframe_kernels.launch import Launch

CHUNK = 4096


@triton.jit(do_not_specialize=["blocks"])
def _merge(
    keys,
    peaks,
    totals,
    count,
    token_of,
    log_probs,
    token_ids,
    blocks,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    node = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, CHUNK)
    written = tl.cdiv(tl.load(count), ROWS).to(tl.int32)

    peak = float("-inf")
    total = 0.0
    for start in range(0, written, CHUNK):
        inside = start + lane < written
        block_peaks = tl.load(peaks + node * blocks + start + lane, mask=inside, other=float("-inf"))
        block_totals = tl.load(totals + node * blocks + start + lane, mask=inside, other=0.0)
        higher = tl.maximum(peak, tl.max(block_peaks, 0))
        total = total * tl.exp(peak - higher) + tl.sum(block_totals * tl.exp(block_peaks - higher), 0)
        peak = higher
    log_total = tl.log(tl.maximum(total, 1.0))  # the peak alone is 1; only an empty set is below

    row = keys + node * blocks * K
    last = tl.full((), HIGHEST, tl.int64)
    for rank in range(K):
        best = tl.full((), EMPTY, tl.int64)
        for start in range(0, written * K, CHUNK):
            key = tl.load(row + start + lane, mask=start + lane < written * K, other=EMPTY)
            best = tl.maximum(best, tl.max(tl.where(key < last, key, EMPTY), 0))
        found = best > EMPTY
        token = key_slot(best)
        if token_of is not None:
            token = tl.load(token_of + token, mask=found, other=-1)
        log_prob = key_logit(best) - peak - log_total
        tl.store(log_probs + node * K + rank, tl.where(found, log_prob, float("-inf")))
        tl.store(token_ids + node * K + rank, tl.where(found, token, -1).to(tl.int64))
        last = best


def merge(out: TopKBuffers, count: Tensor, token_of: Tensor | None, rows: int) -> Launch:
    """Return the launch that fills ``out`` from the partial results of its blocks.

    Args:
        out: N hidden states, k best.
        count: number of active tokens, [] int64.
        token_of: token id in each slot [capacity] int32; None where slots are token ids.
        rows: slots per block.
    """
    n, blocks, k = out.keys.shape
    return Launch(
        kernel=_merge,
        grid=(n,),
        arguments={
            "keys": out.keys,
            "peaks": out.peaks,
            "totals": out.totals,
            "count": count,
            "token_of": token_of,
            "log_probs": out.log_probs,
            "token_ids": out.token_ids,
            "blocks": blocks,
            "K": k,
            "ROWS": rows,
            "CHUNK": min(CHUNK, triton.next_power_of_2(blocks * k)),
        },
    )
