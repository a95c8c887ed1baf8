"""Rotary position embedding from tables."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Rotations of these types depend on the position alone, so a table can hold them.
TABULATED_TYPES = ("default", "linear", "llama3", "yarn")


class RotaryTables:
    """Rotations of every position, for each layer type.

    Args:
        frequencies: per layer type, inverse frequencies [D / 2] float32 and the factor on cosines and sines.
        dtype: of the tables.
        device: where they live.
    """

    def __init__(
        self, frequencies: Mapping[str, tuple[Tensor, float]], dtype: torch.dtype, device: torch.device
    ) -> None:
        self._frequencies = {kind: (inverse.to(device), by) for kind, (inverse, by) in frequencies.items()}
        self._dtype, self._device = dtype, device
        self._tables: dict[str, tuple[Tensor, Tensor]] = {}

    def extend(self, capacity: int) -> None:
        """Tabulate the positions 0 to ``capacity`` - 1."""
        positions = torch.arange(capacity, device=self._device).float()[:, None]
        for kind, (inverse, factor) in self._frequencies.items():
            angles = positions * inverse
            cos, sin = angles.cos() * factor, angles.sin() * factor
            self._tables[kind] = (
                torch.cat((cos, cos), dim=-1).to(self._dtype)[:, None],
                torch.cat((-sin, sin), dim=-1).to(self._dtype)[:, None],
            )

    def at(self, positions: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return per layer type cosines and signed sines [n, 1, D] at positions [n]."""
        return {kind: (cos[positions], sin[positions]) for kind, (cos, sin) in self._tables.items()}


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Return ``x`` [n, heads, D] rotated; the sign of the swapped half is in the sine table."""
    cos, signed_sin = rotation
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), signed_sin)
