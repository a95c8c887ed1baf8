"""Drawing tokens, from the generator that is passed in and from nothing else."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def draw(weights: Tensor, generator: Generator | None) -> int:
    """Return an index with probability proportional to its weight.

    By inversion in float64: one pass over the weights, one random number, one host read. An index of weight
    zero is never returned.

    Args:
        weights: not negative, not all zero [V].
        generator: on the weights' device.
    """
    cumulative = weights.cumsum(dim=0, dtype=torch.float64)
    point = torch.rand((), dtype=torch.float64, generator=generator, device=weights.device) * cumulative[-1]
    index = int(torch.searchsorted(cumulative, point, right=True))
    # Rounding may lift the product to the total itself, once in 2^53 draws.
    return index if index < len(weights) else int(weights.argmax())


def draw_rows(weights: Tensor, generator: Generator | None) -> list[int]:
    """Return one index per row of weights [n, V], as ``draw`` does, with one host read for all of them.

    A row with NaN gives -1.
    """
    cumulative = weights.cumsum(dim=1, dtype=torch.float64)
    shape, device = (len(weights), 1), weights.device
    points = torch.rand(shape, dtype=torch.float64, generator=generator, device=device) * cumulative[:, -1:]
    indices = torch.searchsorted(cumulative, points, right=True).squeeze(1)
    indices = torch.where(indices < weights.shape[1], indices, weights.argmax(dim=1))
    drawn: list[int] = indices.masked_fill(cumulative[:, -1].isnan(), -1).tolist()
    return drawn


def accepts(probability: float, generator: Generator | None) -> bool:
    """Return True with a probability, always from 1 on; one random number, one host read."""
    device = generator.device if generator is not None else None
    return float(torch.rand((), dtype=torch.float64, generator=generator, device=device)) < probability
