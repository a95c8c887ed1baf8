"""Rotary position embedding from tables that the model's own module fills."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Rotations of these types depend on the position alone, so a table can hold them.
TABULATED_TYPES = ("default", "linear", "llama3", "yarn")


class RotaryTables:
    """Rotations of every position, for each layer type.

    Args:
        module: the model's rotary embedding.
        kinds: the layer types; the key "" stands for models that have only one.
        dtype: of the tables.
        device: where they live.
    """

    def __init__(self, module: Any, kinds: tuple[str, ...], dtype: torch.dtype, device: torch.device) -> None:
        self._module = module
        self._per_kind = isinstance(module.rope_type, dict)
        self._kinds = kinds
        self._sample = torch.empty(1, dtype=dtype, device=device)
        self._tables: dict[str, tuple[Tensor, Tensor]] = {}

    def extend(self, capacity: int) -> None:
        """Tabulate the positions 0 to ``capacity`` - 1."""
        positions = torch.arange(capacity, device=self._sample.device)[None]
        for kind in self._kinds:
            cos, sin = self._module(self._sample, positions, *((kind,) if self._per_kind else ()))
            signed_sin = sin[0].clone()
            signed_sin[:, : sin.shape[-1] // 2].neg_()
            self._tables[kind] = cos[0][:, None], signed_sin[:, None]

    def at(self, positions: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return per layer type cosines and signed sines [n, 1, D] at positions [n]."""
        return {kind: (cos[positions], sin[positions]) for kind, (cos, sin) in self._tables.items()}


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Return ``x`` [n, heads, D] rotated; the sign of the swapped half is in the sine table."""
    cos, signed_sin = rotation
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), signed_sin)
