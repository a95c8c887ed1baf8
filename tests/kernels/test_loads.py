"""What lies behind a count is not even loaded: no result could tell, but memory could end there."""

from __future__ import annotations

import pytest
import torch
from head_cases import HeadCase, head_case, poisoned_buffers
from kernel_device import DEVICE, NOT_INTERPRETED
from loads import Loads
from torch import Tensor

from specframe_kernels.admit.state import Admission
from specframe_kernels.admit.triton import launches as admit
from specframe_kernels.candidate_head_topk.triton import launches as candidate_head_topk
from specframe_kernels.gather_rows.triton import launches as gather_rows
from specframe_kernels.head_topk.buffers import TopKBuffers
from specframe_kernels.indexed_head_topk.triton import launches as indexed_head_topk
from specframe_kernels.launch import Launch
from specframe_kernels.sparse_head_topk.triton import launches as sparse_head_topk
from specframe_kernels.sparse_head_topk.triton import logits_launches as sparse_head_logits

pytestmark = pytest.mark.skipif(DEVICE != "cpu", reason=NOT_INTERPRETED)
counts = pytest.mark.parametrize("count", [0, 1, 31, 32, 45])


def run(launches: list[Launch], monkeypatch: pytest.MonkeyPatch) -> Loads:
    """Run launches; every load must be of one of their tensors."""
    loads = Loads(monkeypatch)
    for launch in launches:
        launch.run()
    assert loads.outside([tensor for launch in launches for tensor in launch.tensors]) == 0
    return loads


def case_of(count: int) -> HeadCase:
    return head_case(3, count, 40, capacity=100, with_bias=True)


@counts
def test_no_packed_row_behind_the_active_ones_is_loaded(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(count)
    assert case.bias is not None
    loads = run(sparse_head_topk(*case.head, poisoned_buffers(case, 4)), monkeypatch)
    assert loads.rows(case.packed) == set(range(count))
    assert loads.elements(case.bias) == set(range(count))
    assert max(loads.elements(case.token_of), default=-1) < count


@counts
def test_the_logits_mode_loads_no_other_rows_either(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(count)
    out = torch.empty(3, 100)
    assert run(sparse_head_logits(*case.head[:4], out), monkeypatch).rows(case.packed) == set(range(count))


@counts
def test_only_the_rows_of_active_tokens_are_loaded_by_index(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(count)
    weight, bias = torch.randn(200, 40), torch.randn(200)
    out = poisoned_buffers(case, 4)
    loads = run(indexed_head_topk(case.hidden, weight, bias, case.count, case.token_of, out), monkeypatch)
    assert loads.rows(weight) == loads.elements(bias) == set(case.token_of[:count].tolist())
    assert loads.elements(case.token_of) == set(range(count))


@counts
def test_only_candidates_that_are_not_active_are_loaded_by_index(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, k = case_of(count), 4
    weight, bias = torch.randn(200, 40), torch.randn(200)
    active = case.token_of[:count].tolist()
    slot_of = torch.full((200,), -1, dtype=torch.int32)
    slot_of[active] = torch.arange(count, dtype=torch.int32)
    rows = torch.stack([torch.randperm(200)[:19] for _ in range(3)])
    rows[:, 5], rows[0, 6] = -1, 2**40
    wanted = set(rows.flatten().tolist()) - {-1, 2**40}
    launched = candidate_head_topk(
        case.hidden,
        weight,
        bias,
        rows,
        TopKBuffers.allocate(3, k, 100, "cpu", 19),
        count=case.count,
        slot_of=slot_of,
        token_of=case.token_of,
        packed=(case.packed, case.bias),
    )
    loads = run(launched, monkeypatch)
    assert loads.rows(weight) == loads.elements(bias) == wanted - set(active)
    assert loads.elements(slot_of) == wanted
    assert loads.rows(case.packed) == set(range(count))


@counts
def test_only_listed_rows_are_copied(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, packed = torch.randn(200, 40), torch.empty(100, 40)
    slots, ids = (torch.randperm(100).int() for _ in range(2))
    device_count = torch.tensor(count, dtype=torch.int32)
    loads = run(gather_rows(weight, None, slots, ids, device_count, packed, None), monkeypatch)
    assert loads.rows(weight) == set(ids[:count].tolist())
    assert loads.elements(slots) == loads.elements(ids) == set(range(count))


@pytest.mark.parametrize("eviction", ["fifo", "lru"])
def test_an_admission_loads_nothing_from_elsewhere(eviction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def entries(size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.int32)

    count = torch.empty((), dtype=torch.int64)
    state = Admission.over(entries(50), entries(10), count, pinned=1, lru=eviction == "lru")
    for ids in ([3, 0, 49, 3], [50, -1, 7, *range(20, 40)]):
        run(admit(state, torch.tensor(ids)), monkeypatch)
