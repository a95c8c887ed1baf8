"""``gather_rows`` in 16-byte accesses: a fixed grid that strides over as many rows as the device says."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from specframe_kernels.launch import Launch, require_rows

MAX_PROGRAMS = 1024  # enough to fill the largest device several times over; few enough to start idle
BLOCK_BYTES = 8192  # of a row per program: two to four 16-byte accesses in flight per thread


@triton.jit
def _gather_rows(
    weight,
    bias,
    slots,
    ids,
    count,
    packed,
    packed_bias,
    H: tl.constexpr,
    BLOCK: tl.constexpr,
):
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    for i in range(tl.program_id(0), tl.load(count), tl.num_programs(0)):
        slot = tl.load(slots + i).to(tl.int64)
        row = tl.load(ids + i).to(tl.int64)  # row * H passes 2^31 in large heads
        values = tl.load(weight + row * H + column, mask=column < H)
        tl.store(packed + slot * H + column, values, mask=column < H)
        if bias is not None and tl.program_id(1) == 0:
            tl.store(packed_bias + slot, tl.load(bias + row))


def launches(
    weight: Tensor,
    bias: Tensor | None,
    slots: Tensor,
    ids: Tensor,
    count: Tensor,
    packed: Tensor,
    packed_bias: Tensor | None,
) -> list[Launch]:
    """Return the one launch; the arguments are those of ``naive.gather_rows``."""
    require_rows("weight", weight)
    require_rows("packed", packed)
    hidden_size, element = weight.shape[1], weight.element_size()
    block = min(triton.next_power_of_2(hidden_size), BLOCK_BYTES // element)
    # Short rows get fewer threads, so that each still moves 16 bytes; a warp has up to 64.
    warps = max(1, min(4, block * element // (64 * 16)))
    return [
        Launch(
            kernel=_gather_rows,
            grid=(max(1, min(slots.shape[0], MAX_PROGRAMS)), triton.cdiv(hidden_size, block)),
            arguments={
                "weight": weight,
                "bias": bias,
                "slots": slots,
                "ids": ids,
                "count": count,
                "packed": packed,
                "packed_bias": packed_bias,
                "H": hidden_size,
                "BLOCK": block,
            },
            num_warps=warps,
        )
    ]


def gather_rows(
    weight: Tensor,
    bias: Tensor | None,
    slots: Tensor,
    ids: Tensor,
    count: Tensor,
    packed: Tensor,
    packed_bias: Tensor | None,
) -> None:
    """Copy the rows of new tokens; the arguments are those of ``naive.gather_rows``."""
    for launch in launches(weight, bias, slots, ids, count, packed, packed_bias):
        launch.run()
