"""The target's own layers as the backbone of a draft step, with some of their parts left out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from specframe.model.forward import LeftOut, PartialForward, causal_mask

# Positions that the cache grows by at least, so that it does not grow at every step.
_GRANULE = 256


class PartialBackbone:
    """The ``Backbone`` of a draft step over the target's layers and KV cache.

    What is drafted is written behind the committed positions, where the next target pass writes over it.

    Args:
        forward: returns what runs the target's layers.
        beams: b, nodes of every drafted level.
        levels: drafted levels that go through the layers.
        most: tokens that are read again at once.
        device: where the target is.

    Attributes:
        left_out: what of the layers is left out.
    """

    def __init__(
        self,
        forward: Callable[[], PartialForward],
        *,
        beams: int,
        levels: int,
        most: int,
        device: torch.device,
    ) -> None:
        self.left_out = LeftOut()
        self.device = device
        self._forward_of, self._drafted = forward, max(1 + beams * levels, most)
        self._eye = torch.eye(beams, dtype=torch.bool, device=device)
        self._ids = torch.zeros(1, dtype=torch.int64, device=device)
        self.begin()

    @property
    def committed(self) -> int:
        """Positions that the target has read."""
        return self._forward_of().committed

    def begin(self) -> None:
        """Begin a request: its cache may be another one."""
        self._capacity = 0

    def emit(self, root: int) -> None:
        """Take the last token emitted, which the target has not read."""
        self._ids = torch.tensor([root]).to(self.device, non_blocking=True)
        self._reserve()

    @property
    def root(self) -> Tensor:
        """The last token emitted [1] int64."""
        return self._ids

    def read(self) -> Tensor:
        """Read the root; return its hidden state [1, H]."""
        self._mask = torch.ones(1, 1, dtype=torch.bool, device=self.device)
        self._depths = torch.zeros(1, dtype=torch.int64, device=self.device)
        return self._run(self._ids)

    def extend(self, token_ids: Tensor, rows: Tensor, level: int) -> Tensor:
        """Read a level of drafted nodes [b], as in ``Backbone``; return their hidden states [b, H]."""
        width = len(token_ids)
        self._mask = torch.cat((self._mask.index_select(0, rows), self._eye[:width, :width]), dim=1)
        self._depths = torch.cat((self._depths, torch.full_like(token_ids, level)))
        return self._run(token_ids)

    def again(self, ids: Tensor, left_out: LeftOut) -> Tensor:
        """Read the last n committed tokens once more; return their hidden states [n, H].

        Args:
            ids: of these tokens [n] int64.
            left_out: what of the layers is left out.
        """
        self._reserve()
        forward, n = self._forward_of(), len(ids)
        start = forward.committed - n
        positions = torch.arange(start, start + n, device=self.device)
        return forward.run_partly(ids, positions, causal_mask(n, self.device), left_out, context=start)

    def _run(self, ids: Tensor) -> Tensor:
        forward = self._forward_of()
        positions = forward.committed + self._depths
        return forward.run_partly(ids, positions, self._mask, self.left_out)

    def _reserve(self) -> None:
        """Make room for a draft behind the committed positions."""
        forward = self._forward_of()
        needed = forward.committed + self._drafted
        if needed > self._capacity:
            self._capacity = -(-needed // _GRANULE) * _GRANULE
            forward.begin(self._capacity, forward.committed)
