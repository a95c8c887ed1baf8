"""The model's own decoder as a forward: for every model type, with masks and cache made here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from specframe.kv_cache import TreeCache


class TransformersForward:
    """Calls the transformers decoder with a mask per layer type and a cache that trees can be rolled back in.

    Args:
        model: the model.
        windows: the sliding window per layer type; the key "" stands for models that take one mask.
    """

    def __init__(self, model: PreTrainedModel, windows: Mapping[str, int | None]) -> None:
        self._config: Any = model.config.get_text_config()
        self._decoder: Any = model.get_decoder()
        self._device, self._dtype = model.device, model.dtype
        self._windows = windows
        self._cache = TreeCache(self._config.num_hidden_layers, 0)

    @property
    def committed(self) -> int:
        """Positions committed."""
        return self._cache.committed

    def begin(self, capacity: int, keep: int = 0) -> None:
        """Make room for ``capacity`` positions and forget all but the first ``keep``."""
        if self._cache.capacity < capacity and not keep:
            self._cache = TreeCache(self._config.num_hidden_layers, capacity)
        self._cache.keep(keep)
        self._cache.grow(capacity)

    def run(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden states [n, H] of n new tokens that see the context and ``mask`` [n, n]."""
        masks = {
            kind: self._attention_mask(positions, mask, window) for kind, window in self._windows.items()
        }
        output = self._decoder(
            input_ids=ids[None],
            position_ids=positions[None],
            attention_mask=masks.get("", masks),
            past_key_values=self._cache,
            use_cache=True,
        )
        return output.last_hidden_state[0]  # type: ignore[no-any-return]  # transformers outputs are untyped

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the nodes of ``path`` of the last pass, in order, and forget its other nodes."""
        self._cache.commit(path)

    def _attention_mask(self, positions: Tensor, mask: Tensor, window: int | None) -> Tensor:
        """Return who sees whom [1, 1, n, committed + n]: bool for SDPA, additive for other attention."""
        committed = self._cache.committed
        n = len(positions)
        visible = torch.ones(n, committed + n, dtype=torch.bool, device=self._device)
        visible[:, committed:] = mask
        if window is not None:
            key_positions = torch.cat([torch.arange(committed, device=self._device), positions])
            visible &= key_positions[None] > positions[:, None] - window
        if self._config._attn_implementation == "sdpa":
            return visible[None, None]
        floor = torch.finfo(self._dtype).min
        return torch.zeros(visible.shape, dtype=self._dtype, device=self._device).masked_fill(
            ~visible, floor
        )[None, None]
