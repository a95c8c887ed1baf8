"""Where the kernels find the LM-head rows of the active set: in a packed copy, or in the head itself."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe_kernels.gather_rows.triton import gather_rows
from specframe_plugins.gathers.triton.side_stream import SideStream


class Rows(Protocol):
    """Rows of an LM head and, where the head has one, their bias.

    Attributes:
        weight: [rows, H]; to be read after ``join``.
        bias: [rows], or None; likewise.
    """

    weight: Tensor
    bias: Tensor | None

    def fetch(self, slots: Tensor, ids: Tensor, count: Tensor) -> None:
        """Start to bring rows ``ids`` [m] int32 into ``slots`` [m] int32: the first ``count`` ([] int32).

        All three must stay as they are until ``join``.
        """
        ...

    def join(self) -> None:
        """Let whatever is launched next wait until the rows are there; the host goes on."""
        ...


class HeadRows:
    """The head's own rows: nothing has to be fetched."""

    def __init__(self, head: OutputHead) -> None:
        self.weight = head.weight.detach()
        self.bias = None if head.bias is None else head.bias.detach()

    def fetch(self, slots: Tensor, ids: Tensor, count: Tensor) -> None:
        """Do nothing."""

    def join(self) -> None:
        """Do nothing."""


class PackedRows:
    """The rows of the active set, contiguous; copies run beside the current stream."""

    def __init__(self, head: OutputHead, capacity: int) -> None:
        self._head = HeadRows(head)
        self.weight = self._head.weight.new_zeros(capacity, head.hidden_size)
        self.bias = None if self._head.bias is None else self._head.bias.new_zeros(capacity)
        self._side = SideStream(head.weight.device)

    def fetch(self, slots: Tensor, ids: Tensor, count: Tensor) -> None:
        """Start to copy the first ``count`` of the rows ``ids`` [m] into ``slots`` [m]."""
        source = self._head
        used = [slots, ids, count, source.weight, source.bias, self.weight, self.bias]
        with self._side.work(*(tensor for tensor in used if tensor is not None)):
            gather_rows(source.weight, source.bias, slots, ids, count, self.weight, self.bias)

    def join(self) -> None:
        """Let whatever is launched on the current stream next wait for the copies."""
        self._side.join()
