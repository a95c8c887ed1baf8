from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.lm_head import OutputHead
from specframe.testing import ReferenceGather, check_gather_backend
from specframe.vocabulary.memory import measure
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather

pytestmark = pytest.mark.numbers

NOTHING = torch.empty(0, dtype=torch.int64)


class MaskingGather(TorchGather):
    """Takes the path of an accelerator, where the count is not read on the host."""

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        super().bind(head, active)
        self._reads_count = False


both_paths = pytest.mark.parametrize("make_gather", [TorchGather, MaskingGather])


def random_head(vocab_size: int = 50, hidden_size: int = 8) -> OutputHead:
    torch.manual_seed(0)
    return OutputHead(torch.randn(vocab_size, hidden_size), torch.randn(vocab_size))


def make_store(head: OutputHead, gather: TorchGather, capacity: int = 10) -> VocabularyStore:
    return VocabularyStore(head, gather, capacity=capacity, pinned_ids=NOTHING)


def topk_after(store: VocabularyStore, gather: TorchGather, ids: list[int]) -> tuple[Tensor, Tensor]:
    store.reset()
    store.admit(torch.tensor(ids))
    return gather.topk(torch.ones(2, 8), 4)


@both_paths
def test_it_agrees_with_the_definition(make_gather: type[TorchGather]) -> None:
    check_gather_backend(make_gather)


@both_paths
def test_rows_of_an_earlier_request_never_reach_the_top_k(make_gather: type[TorchGather]) -> None:
    head, gather = random_head(), make_gather()
    head.weight[20:30] = 100.0  # would win every comparison
    store = make_store(head, gather)
    store.admit(torch.arange(20, 30))
    store.reset()
    store.admit(torch.arange(5))
    _, token_ids = gather.topk(torch.ones(3, 8), 8)
    assert set(token_ids.flatten().tolist()) == {0, 1, 2, 3, 4, -1}


@both_paths
def test_stale_rows_that_are_not_finite_do_not_spread(make_gather: type[TorchGather]) -> None:
    head, gather = random_head(), make_gather()
    head.weight[20:30] = torch.nan
    store = make_store(head, gather)
    store.admit(torch.arange(20, 30))
    log_probs, _ = topk_after(store, gather, [1, 2, 3])
    assert log_probs[:, :3].isfinite().all()


@both_paths
def test_results_do_not_depend_on_the_order_of_requests(make_gather: type[TorchGather]) -> None:
    head, gather = random_head(), make_gather()
    store = make_store(head, gather)
    first = topk_after(store, gather, [1, 2, 3])
    topk_after(store, gather, [4, 5, 6, 7, 8, 9, 1])
    again = topk_after(store, gather, [1, 2, 3])
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@both_paths
def test_log_probabilities_sum_to_one_over_the_active_set(make_gather: type[TorchGather]) -> None:
    head, gather = random_head(), make_gather()
    make_store(head, gather).admit(torch.arange(10, 17))
    log_probs, _ = gather.topk(torch.randn(3, 8), 7)
    torch.testing.assert_close(log_probs.exp().sum(dim=-1), torch.ones(3))


@both_paths
def test_an_empty_active_set_gives_no_candidates(make_gather: type[TorchGather]) -> None:
    head, gather = random_head(), make_gather()
    make_store(head, gather)
    log_probs, token_ids = gather.topk(torch.ones(2, 8), 3)
    assert token_ids.tolist() == [[-1] * 3] * 2
    assert log_probs.isneginf().all()


def test_the_full_vocabulary_uses_the_head_without_a_copy() -> None:
    head, gather = random_head(), TorchGather()
    gather.bind(head, None)
    assert not any(tensor.numel() for tensor in gather.held())


def test_a_head_that_requires_gradients_is_read_without_them() -> None:
    head, gather = OutputHead(torch.randn(20, 8, requires_grad=True)), TorchGather()
    make_store(head, gather).admit(torch.arange(5))
    assert not gather.topk(torch.ones(1, 8), 3)[0].requires_grad


def test_the_head_itself_stays_as_it_is() -> None:
    head, gather = random_head(), TorchGather()
    before = head.weight.clone()
    gather.bind(head, None)
    gather.topk(torch.ones(1, 8), 3)
    assert torch.equal(head.weight, before)


def test_on_an_accelerator_nothing_is_read_on_the_host() -> None:
    with FakeTensorMode():  # a read that depends on data raises here
        head = OutputHead(torch.empty(50, 8), softcap=30.0)
        active = ActiveSet(
            slot_of=torch.empty(50, dtype=torch.int32),
            token_of=torch.empty(10, dtype=torch.int32),
            count=torch.empty((), dtype=torch.int64),
        )
        gather = MaskingGather()
        gather.bind(head, active)
        ids = torch.empty(3, dtype=torch.int64)
        gather.fetch(ids, ids)
        log_probs, token_ids = gather.topk(torch.empty(4, 8), 12)
    assert log_probs.shape == token_ids.shape == (4, 12)


def test_a_growing_active_set_has_products_of_few_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    head, gather = random_head(vocab_size=700), TorchGather()
    store = make_store(head, gather, capacity=600)
    widths = set()
    product = torch.nn.functional.linear

    def watched(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        widths.add(len(weight))
        return product(hidden, weight, bias)

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    for count in range(1, 700, 9):
        store.admit(torch.arange(count))
        _, token_ids = gather.topk(torch.ones(1, 8), 4)
        assert int(token_ids.max()) < count
    assert widths == {256, 512, 600}


def test_logits_are_in_the_order_of_the_slots() -> None:
    head, gather, reference = random_head(), TorchGather(), ReferenceGather()
    store = make_store(head, gather)
    store.admit(torch.tensor([30, 4, 17]))
    reference.bind(head, store.active)
    hidden = torch.randn(2, 8)
    torch.testing.assert_close(gather.logits(hidden), reference.logits(hidden))


def test_rows_that_never_change_are_multiplied_in_the_order_of_the_full_head() -> None:
    head, ids = random_head().packed(), torch.tensor([3, 9, 20, 41])
    gather, reference = TorchGather(), ReferenceGather()
    store, _ = (VocabularyStore(head, one, capacity=len(ids), pinned_ids=ids) for one in (gather, reference))
    hidden = torch.randn(5, 8)
    torch.testing.assert_close(gather.logits(hidden), reference.logits(hidden))
    (log_probs, token_ids), (expected, expected_ids) = (
        backend.topk(hidden, 3) for backend in (gather, reference)
    )
    torch.testing.assert_close(log_probs, expected)
    assert torch.equal(token_ids, expected_ids)
    assert gather._product is not None
    assert measure([store]).packed_bytes == len(ids) * 9 * 4, "the rows are kept twice"


@pytest.mark.parametrize(("capacity", "packed"), [(4, False), (5, True)])
def test_rows_stay_as_they_are_where_they_may_change_or_the_full_head_is_not_reordered(
    capacity: int, packed: bool
) -> None:
    head = random_head().packed() if packed else random_head()
    gather = TorchGather()
    VocabularyStore(head, gather, capacity=capacity, pinned_ids=torch.tensor([3, 9, 20, 41]))
    assert gather._product is None
