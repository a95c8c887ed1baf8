"""The search finds the parts that cost least, from few trials, and the same ones every time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specframe_plugins.drafters.swift.search import LayerSearch


def losses(parts: int, seed: int) -> Tensor:
    """Return what leaving each part out costs [n]: most of them much, a third nothing."""
    source = torch.Generator().manual_seed(seed)
    loss = 0.05 + 0.3 * torch.rand(parts, generator=source)
    loss[torch.randperm(parts, generator=source)[: parts // 3]] = 0.0
    return loss


def searched(loss: Tensor, count: int, trials: int, noise: float = 0.0) -> LayerSearch:
    search, source = LayerSearch(torch.zeros(len(loss)), count), torch.Generator().manual_seed(1)
    for _ in range(trials):
        parts = search.candidate()
        off = noise * float(torch.randn((), generator=source))
        search.learn(parts, max(1.0 - float(loss[list(parts)].sum()), 0.0) + off)
    return search


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_parts_that_cost_nothing_are_found(seed: int, noise: float) -> None:
    loss = losses(24, seed)
    found = searched(loss, count=8, trials=150, noise=noise).best()
    assert float(loss[list(found)].sum()) < 0.1, loss[list(found)]


def test_before_any_trial_the_ones_that_are_expected_to_cost_least_are_chosen() -> None:
    assert LayerSearch(torch.tensor([0.5, 0.1, 0.3, 0.2]), 2).best() == (1, 3)


def test_a_search_that_was_reset_tries_the_same_again() -> None:
    search = LayerSearch(torch.zeros(10), 3)

    def tried() -> list[tuple[int, ...]]:
        found = []
        for _ in range(5):
            found.append(search.candidate())
            search.learn(found[-1], 0.1 * len(found))
        return found

    first = tried()
    search.reset()
    assert tried() == first
    assert len(set(first)) > 1
