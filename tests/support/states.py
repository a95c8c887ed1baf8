"""Hidden states to fit screens to, without a drafter."""

from __future__ import annotations

import torch
from torch import Tensor


class GivenStates:
    """The ``StateSource`` of given states.

    Args:
        states: [n, H] float32.
        key: tells them from others.
    """

    def __init__(self, states: Tensor, key: str = "given") -> None:
        self._states, self.key = states, key
        self.asked = 0

    def sample(self, count: int) -> Tensor:
        """Return the first states, and count."""
        self.asked += 1
        return self._states[:count]


def uneven_states(count: int, hidden_size: int, seed: int = 0) -> Tensor:
    """Return states [count, H] that fill few directions, as those of a drafter do."""
    source = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(
        torch.randn(hidden_size, hidden_size, generator=torch.Generator().manual_seed(9))
    ).Q
    scale = torch.logspace(0.5, -2.5, hidden_size)
    return torch.randn(count, hidden_size, generator=source) * scale @ directions.T
