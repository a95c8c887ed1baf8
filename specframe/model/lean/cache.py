"""Keys and values of all layers in one preallocated tensor."""

from __future__ import annotations

import torch
from torch import Tensor

_GRANULE = 256


class LeanCache:
    """Keys and values [L, 2, heads, capacity, D]; the first ``committed`` positions stay.

    Sliding-window layers keep every position too: the window is the mask's business, so that committing a
    path never has to rebuild a window.

    Args:
        num_layers: L.
        heads: key-value heads.
        head_dim: D.
        dtype: of keys and values.
        device: where they live.
    """

    def __init__(
        self, num_layers: int, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.data = torch.empty(num_layers, 2, heads, 0, head_dim, dtype=dtype, device=device)
        self.committed = 0

    @property
    def capacity(self) -> int:
        """Positions allocated."""
        return self.data.shape[3]

    def begin(self, capacity: int, keep: int = 0) -> bool:
        """Make room for ``capacity`` positions, forget all but the first ``keep``; return whether it grew."""
        assert keep <= self.committed
        self.committed = keep
        if capacity <= self.capacity:
            return False
        layers, two, heads, _, head_dim = self.data.shape
        rounded = -(-capacity // _GRANULE) * _GRANULE
        grown = self.data.new_zeros(layers, two, heads, rounded, head_dim)
        grown[:, :, :, :keep] = self.data[:, :, :, :keep]
        self.data = grown
        return True

    def slots(self, start: int, stop: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return views of positions ``start`` to ``stop`` - 1: every layer's keys, and every layer's values.

        Each [1, heads, stop - start, D]. All layers at once, since a view costs as much as a small product.
        """
        keys, values = self.data[:, :, None, :, start:stop].unbind(1)
        return keys.unbind(), values.unbind()

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the nodes of ``path``, in order, and forget the others written since the last commit."""
        start, end = self.committed, self.committed + len(path)
        if path != tuple(range(len(path))):
            source = torch.tensor(path).to(self.data.device, non_blocking=True) + start
            self.data[:, :, :, start:end] = self.data[:, :, :, source]
        self.committed = end
