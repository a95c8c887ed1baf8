"""One block of slots: logits that stay in registers, their partial log-sum-exp and their k best."""

from __future__ import annotations

import triton
import triton.language as tl

EMPTY = tl.constexpr(-(2**63))  # below the key of every logit
# The peak of a block that holds nothing: finite, so that two of them have a difference.
NO_PEAK = tl.constexpr(-3.0e38)
HIGHEST = tl.constexpr(2**63 - 1)
# The interpreter multiplies the bit patterns of bfloat16 operands; in float32 their products are exact.
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def order_key(logit, slot):
    """Return int64 keys that sort by logit, then by lowest slot; all keys of a row of logits differ."""
    bits = (logit + 0.0).to(tl.int32, bitcast=True)  # -0.0 becomes 0.0: equal logits, equal bits
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ascending.to(tl.int64) << 32) | (slot ^ 0x7FFFFFFF).to(tl.int64)


@triton.jit
def key_logit(key):
    """Return the float32 logit inside a key."""
    ascending = (key >> 32).to(tl.int32)
    return (ascending ^ ((ascending >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def key_slot(key):
    """Return the int32 slot inside a key."""
    return (key & 0x7FFFFFFF).to(tl.int32) ^ 0x7FFFFFFF


@triton.jit
def tanh(x):
    """Return tanh to float32 accuracy: the quotient loses digits near 0, where the series has them."""
    square = x * x
    series = x * (1 - square * (1 / 3 - square * (2 / 15 - square * (17 / 315 - square * (62 / 2835)))))
    decay = tl.exp(-2 * tl.abs(x))
    quotient = (1 - decay) / (1 + decay)
    return tl.where(square < 0.0625, series, tl.where(x < 0, -quotient, quotient))


@triton.jit
def finished(raw, scale, softcap):
    """Return logits of products, bias already added."""
    raw *= scale
    if softcap is not None:
        raw = softcap * tanh(raw / softcap)
    return raw


@triton.jit
def block_logits(
    hidden,
    weight,
    bias,
    row,
    present,
    node,
    n,
    scale,
    softcap,
    H: tl.constexpr,
    NODES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Return logits [NODES, ROWS] float32 of hidden states ``node`` [NODES] and head rows ``row`` [ROWS].

    Rows that are not ``present`` are never read.
    """
    raw = tl.zeros((NODES, ROWS), tl.float32)
    hidden_rows = hidden + node[:, None].to(tl.int64) * H
    weight_rows = weight + row[:, None].to(tl.int64) * H
    for start in range(0, H, COLUMNS):
        column = start + tl.arange(0, COLUMNS)[None, :]
        h = tl.load(hidden_rows + column, mask=(node < n)[:, None] & (column < H), other=0.0)
        w = tl.load(weight_rows + column, mask=present[:, None] & (column < H), other=0.0)
        if INTERPRETED:
            h, w = h.to(tl.float32), w.to(tl.float32)
        raw = tl.dot(h, tl.trans(w), raw, input_precision="ieee")
    if bias is not None:
        raw += tl.load(bias + row, mask=present, other=0.0).to(tl.float32)[None, :]
    return finished(raw, scale, softcap)


@triton.jit
def store_partial(
    logits,
    slot,
    present,
    node,
    n,
    block,
    blocks,
    keys,
    peaks,
    totals,
    K: tl.constexpr,
):
    """Write the k best, the peak and the total of one block of logits [NODES, ROWS]."""
    inside = present[None, :]
    logits = tl.where(inside, logits, float("-inf"))
    peak = tl.maximum(tl.max(logits, 1), NO_PEAK)
    total = tl.sum(tl.where(inside, tl.exp(logits - peak[:, None]), 0.0), 1)
    at = node.to(tl.int64) * blocks + block
    tl.store(peaks + at, peak, mask=node < n)
    tl.store(totals + at, total, mask=node < n)
    # Keys differ, so the next best is the largest one below the last.
    key = tl.where(inside, order_key(logits, slot[None, :]), EMPTY)
    best = tl.max(key, 1)
    tl.store(keys + at * K, best, mask=node < n)
    for rank in range(1, K):
        best = tl.max(tl.where(key < best[:, None], key, EMPTY), 1)
        tl.store(keys + at * K + rank, best, mask=node < n)
