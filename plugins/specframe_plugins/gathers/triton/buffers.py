"""Outputs and scratch of the top-k, allocated once for each of the few shapes that a draft step has."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe_kernels.head_topk.buffers import TopKBuffers


class BuffersByShape:
    """Gives every call of one shape the same memory, as a CUDA graph needs it.

    Args:
        capacity: slots that a call may look at.
        device: where the buffers live.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self._capacity, self._device = capacity, device
        self._buffers: dict[tuple[int, int, int], TopKBuffers] = {}

    def held(self) -> tuple[Tensor, ...]:
        """Return all buffers."""
        return tuple(tensor for one in self._buffers.values() for tensor in attrs.astuple(one, recurse=False))

    def of(self, n: int, k: int, candidates: int = 0) -> TopKBuffers:
        """Return the buffers for ``n`` hidden states, the ``k`` best of each, and its candidates."""
        shape = (n, k, candidates)
        if shape not in self._buffers:
            self._buffers[shape] = TopKBuffers.allocate(n, k, self._capacity, self._device, candidates)
        return self._buffers[shape]
