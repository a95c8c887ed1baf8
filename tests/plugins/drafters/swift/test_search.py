"""The search finds the parts that lose least, from few trials, and the same ones every time."""

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


def search_of(parts: int, share: float) -> LayerSearch:
    return LayerSearch(torch.ones(parts), share, torch.ones(parts))


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_parts_that_lose_nothing_are_found(seed: int, noise: float) -> None:
    loss = losses(24, seed)
    search, source = search_of(24, 1 / 3), torch.Generator().manual_seed(1)
    for _ in range(150):
        parts = search.candidate()
        off = noise * float(torch.randn((), generator=source))
        search.learn(parts, max(1.0 - float(loss[list(parts)].sum()), 0.0) + off, tokens=16)
    found = loss[list(search.best())]
    assert len(found) == 8
    assert float(found.sum()) < 0.1, found


def test_before_any_trial_the_ones_that_are_expected_to_lose_least_are_chosen() -> None:
    assert LayerSearch(torch.ones(4), 0.5, torch.tensor([5.0, 1.0, 3.0, 2.0])).best() == (1, 3)


def test_a_loss_counts_by_what_is_saved() -> None:
    sizes, expected = torch.tensor([1.0, 4.0, 1.0, 4.0]), torch.tensor([1.0, 2.0, 1.0, 2.0])
    assert LayerSearch(sizes, 0.8, expected).best() == (1, 3)


def test_a_search_that_was_reset_tries_the_same_again() -> None:
    search = search_of(10, 0.3)

    def tried() -> list[tuple[int, ...]]:
        found = []
        for _ in range(5):
            found.append(search.candidate())
            search.learn(found[-1], 0.1 * len(found), tokens=16)
        return found

    first = tried()
    search.reset()
    assert tried() == first
    assert len(set(first)) > 1
