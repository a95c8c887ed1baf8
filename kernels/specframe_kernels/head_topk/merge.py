"""From the k best of every block to the k best of all, and from partial sums to log-probabilities."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from specframe_kernels.head_topk.blocks import EMPTY, HIGHEST, key_logit, key_slot
from specframe_kernels.head_topk.buffers import TopKBuffers
from specframe_kernels.head_topk.tile import candidate_blocks
from specframe_kernels.launch import Launch

CHUNK = 4096


@triton.jit(do_not_specialize=["blocks"])
def _merge(
    keys,
    peaks,
    totals,
    count,
    token_of,
    candidates,
    log_sums,
    log_probs,
    token_ids,
    blocks,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    CAPACITY: tl.constexpr,
    CANDIDATES: tl.constexpr,
    BEFORE: tl.constexpr,
    CHUNK: tl.constexpr,
):
    node = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, CHUNK)
    written = tl.cdiv(tl.load(count), ROWS).to(tl.int32) + BEFORE

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
    if log_sums is not None:
        peak, log_total = tl.load(log_sums + node), 0.0

    row = keys + node * blocks * K
    last = tl.full((), HIGHEST, tl.int64)
    for rank in range(K):
        best = tl.full((), EMPTY, tl.int64)
        for start in range(0, written * K, CHUNK):
            key = tl.load(row + start + lane, mask=start + lane < written * K, other=EMPTY)
            best = tl.maximum(best, tl.max(tl.where(key < last, key, EMPTY), 0))
        found = best > EMPTY
        slot = key_slot(best)
        token = slot
        if token_of is not None:
            token = tl.load(token_of + slot, mask=found & (slot < CAPACITY), other=-1)
        if candidates is not None:
            screened = found & (slot >= CAPACITY)
            at = candidates + node * CANDIDATES + (slot - CAPACITY)
            token = tl.where(screened, tl.load(at, mask=screened, other=-1).to(tl.int32), token)
        log_prob = key_logit(best) - peak - log_total
        tl.store(log_probs + node * K + rank, tl.where(found, log_prob, float("-inf")))
        tl.store(token_ids + node * K + rank, tl.where(found, token, -1).to(tl.int64))
        last = best


def merge(
    out: TopKBuffers,
    count: Tensor,
    token_of: Tensor | None,
    rows: int,
    *,
    capacity: int,
    candidates: Tensor | None = None,
    log_sums: Tensor | None = None,
) -> Launch:
    """Return the launch that fills ``out`` from the partial results of its blocks.

    Args:
        out: N hidden states, k best.
        count: number of active tokens, [] int64.
        token_of: token id in each slot [capacity] int32; None where slots are token ids.
        rows: slots per block.
        capacity: number of slots; what is at or above is a candidate.
        candidates: rows of the head, whose blocks come first [N, C] int64; None for none.
        log_sums: log-sum-exp to take log-probabilities by [N] float32; None for that of the blocks.
    """
    n, blocks, k = out.keys.shape
    columns = 0 if candidates is None else candidates.shape[1]
    return Launch(
        kernel=_merge,
        grid=(n,),
        arguments={
            "keys": out.keys,
            "peaks": out.peaks,
            "totals": out.totals,
            "count": count,
            "token_of": token_of,
            "candidates": candidates,
            "log_sums": log_sums,
            "log_probs": out.log_probs,
            "token_ids": out.token_ids,
            "blocks": blocks,
            "K": k,
            "ROWS": rows,
            "CAPACITY": capacity,
            "CANDIDATES": columns,
            "BEFORE": candidate_blocks(columns),
            "CHUNK": min(CHUNK, triton.next_power_of_2(blocks * k)),
        },
    )
