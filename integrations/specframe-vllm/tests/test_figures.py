from __future__ import annotations

import pytest
import torch

from specframe.contracts.lm_head import OutputHead
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather
from specframe_vllm.figures import FigureCounter, Figures


@pytest.fixture
def store() -> VocabularyStore:
    """An active set of the tokens 0 to 9."""
    head = OutputHead(torch.zeros(64, 4))
    return VocabularyStore(head, TorchGather(), capacity=10, pinned_ids=torch.arange(10))


def counted(store: VocabularyStore, nodes: list[int], emitted: list[list[int]]) -> Figures | None:
    counter = FigureCounter(torch.device("cpu"))
    counter.count([store], torch.tensor(nodes), torch.tensor(emitted))
    return counter.latest()


def test_a_pass_that_ends_at_an_active_token_is_a_drafter_miss(store: VocabularyStore) -> None:
    assert counted(store, [4], [[3, 5, -1, -1]]) == Figures(1, 2, 2, 0, 10)


def test_a_pass_that_ends_at_another_token_is_an_oov_rejection(store: VocabularyStore) -> None:
    assert counted(store, [4], [[3, 50, -1, -1]]) == Figures(1, 2, 1, 1, 10)


def test_the_bonus_token_of_an_accepted_draft_rejects_nothing(store: VocabularyStore) -> None:
    assert counted(store, [3], [[3, 4, 50]]) == Figures(1, 3, 2, 0, 10)


def test_passes_of_several_requests_add_up(store: VocabularyStore) -> None:
    assert counted(store, [3, 3], [[3, 4, 50], [50, -1, -1]]) == Figures(2, 4, 2, 1, 20)


def test_a_pass_without_a_draft_does_not_count(store: VocabularyStore) -> None:
    assert counted(store, [1, 3], [[50, -1, -1], [3, 50, -1]]) == Figures(1, 2, 1, 1, 10)


def test_passes_from_active_sets_of_their_own_add_up(store: VocabularyStore) -> None:
    other = VocabularyStore(store.output_head, TorchGather(), capacity=2, pinned_ids=torch.tensor([50, 51]))
    counter = FigureCounter(torch.device("cpu"))
    counter.count([store, other], torch.tensor([3, 3]), torch.tensor([[3, 4, 50], [50, 9, -1]]))
    assert counter.latest() == Figures(2, 5, 3, 1, 12)
