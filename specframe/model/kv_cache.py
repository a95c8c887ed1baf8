"""A preallocated KV cache that keeps an accepted path in place, behind the transformers cache interface."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin


def cache_argument(module: nn.Module) -> str:
    """Return what a decoder or a layer of transformers calls its cache: ``cache`` since version 5.24."""
    return "cache" if "cache" in inspect.signature(module.forward).parameters else "past_key_values"


class TreeCacheLayer(CacheLayerMixin):
    """Keys and values of one layer [1, heads, capacity, head_dim]; the first ``committed`` ones stay.

    A pass writes behind them, or behind the ``pending`` ones that were written since the last commit.

    Sliding-window layers keep every position too: the window is the mask's business, so that committing a
    path never has to rebuild a window.
    """

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers leaves it unannotated
        self.capacity = capacity
        self.committed = 0
        self.pending = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for the shapes of the first keys and values [1, heads, n, head_dim]."""
        self.keys = key_states.new_zeros(*key_states.shape[:2], self.capacity, key_states.shape[-1])
        self.values = value_states.new_zeros(*value_states.shape[:2], self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write behind what is there and return views up to the end of what was written."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        return self.keys[:, :, :end], self.values[:, :, :end]

    def commit(self, path: Tensor | None, length: int) -> None:
        """Keep ``length`` of those written since the last commit: ``path`` [length], or the first ones."""
        if path is not None and self.keys is not None and self.values is not None:
            source = self.committed + path
            self.keys[:, :, self.committed : self.committed + length] = self.keys[:, :, source]
            self.values[:, :, self.committed : self.committed + length] = self.values[:, :, source]
        self.committed += length

    def grow(self, capacity: int) -> None:
        """Allocate ``capacity`` positions and move the committed ones there."""
        self.capacity = capacity
        if self.keys is not None and self.values is not None:
            keys, values = self.keys, self.values
            self.lazy_initialization(keys, values)
            self.keys[:, :, : self.committed] = keys[:, :, : self.committed]
            self.values[:, :, : self.committed] = values[:, :, : self.committed]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return key length and offset for a query of ``query_length`` tokens."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Return the number of positions before the next pass."""
        return self.committed + self.pending

    def get_max_length(self) -> int:
        """Return the number of positions allocated."""
        return self.capacity


class TreeCache(Cache):
    """The KV cache of a target: what a pass writes stays only where it is committed.

    Args:
        num_layers: number of decoder layers.
        capacity: positions to allocate: prompt, new tokens and one draft tree.
    """

    def __init__(self, num_layers: int, capacity: int) -> None:
        self.tree_layers = [TreeCacheLayer(capacity) for _ in range(num_layers)]
        super().__init__(layers=[*self.tree_layers])
        self.capacity = capacity

    @property
    def committed(self) -> int:
        """Number of committed positions."""
        return self.tree_layers[0].committed

    def write_behind(self, pending: int) -> None:
        """Have the next pass write behind as many positions as were written since the last commit."""
        for layer in self.tree_layers:
            layer.pending = pending

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the nodes of ``path``, in order, and forget the others written since the last commit."""
        contiguous = path == tuple(range(len(path)))
        keys = self.tree_layers[0].keys
        index = None
        if not contiguous and keys is not None:
            index = torch.tensor(path).to(keys.device, non_blocking=True)
        for layer in self.tree_layers:
            layer.commit(index, len(path))

    def keep(self, length: int) -> None:
        """Forget all but the first ``length`` committed positions; the memory stays allocated."""
        assert length <= self.committed
        for layer in self.tree_layers:
            layer.committed = length

    def grow(self, capacity: int) -> None:
        """Make room for ``capacity`` positions at least, layer by layer, and keep those committed."""
        if capacity > self.capacity:
            for layer in self.tree_layers:
                layer.grow(capacity)
            self.capacity = capacity
