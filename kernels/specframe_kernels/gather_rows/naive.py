"""``gather_rows`` as one indexed assignment."""

from __future__ import annotations

from torch import Tensor


def gather_rows(
    weight: Tensor,
    bias: Tensor | None,
    slots: Tensor,
    ids: Tensor,
    count: Tensor,
    packed: Tensor,
    packed_bias: Tensor | None,
) -> None:
    """Copy row ``ids[i]`` of the head into row ``slots[i]`` of the packed head, for i below ``count``.

    Args:
        weight: LM head [V, H].
        bias: [V], or None.
        slots: rows to write [M] int32, all different.
        ids: rows to read [M] int32.
        count: how many of the M, [] int32.
        packed: packed head [capacity, H], written.
        packed_bias: [capacity], written; None without bias.
    """
    to, row = slots[: int(count)].long(), ids[: int(count)].long()
    packed[to] = weight[row]
    if bias is not None and packed_bias is not None:
        packed_bias[to] = bias[row]
