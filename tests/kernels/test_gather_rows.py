from __future__ import annotations

import pytest
import torch
from kernel_device import DEVICE
from torch import Tensor

from specframe_kernels.gather_rows import naive
from specframe_kernels.gather_rows import triton as kernel

pytestmark = pytest.mark.numbers

VOCAB_SIZE, CAPACITY = 50, 20


def rows_to_copy(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return slots, ids and their number; the entries behind it point out of range."""
    generator = torch.Generator().manual_seed(0)
    slots = torch.randperm(CAPACITY, generator=generator).int()
    ids = torch.randperm(VOCAB_SIZE, generator=generator)[:CAPACITY].int()
    slots[count:], ids[count:] = 2**30, 2**30
    return slots.to(DEVICE), ids.to(DEVICE), torch.tensor(count, dtype=torch.int32, device=DEVICE)


def poisoned(hidden_size: int, dtype: torch.dtype) -> Tensor:
    return torch.full((CAPACITY, hidden_size), torch.nan, dtype=dtype, device=DEVICE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("hidden_size", [5, 576, 640, 3584, 9000])
def test_it_copies_the_listed_rows_and_nothing_else(hidden_size: int, dtype: torch.dtype) -> None:
    weight = torch.randn(VOCAB_SIZE, hidden_size).to(DEVICE, dtype)
    slots, ids, count = rows_to_copy(13)
    packed, expected = poisoned(hidden_size, dtype), poisoned(hidden_size, dtype)
    kernel.gather_rows(weight, None, slots, ids, count, packed, None)
    naive.gather_rows(weight, None, slots, ids, count, expected, None)
    torch.testing.assert_close(packed, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("hidden_size", [576, 9000])
def test_it_copies_the_bias_of_the_listed_rows(hidden_size: int) -> None:
    weight, bias = (
        torch.randn(VOCAB_SIZE, hidden_size, device=DEVICE),
        torch.randn(VOCAB_SIZE, device=DEVICE),
    )
    slots, ids, count = rows_to_copy(13)
    packed = poisoned(hidden_size, torch.float32)
    packed_bias, expected = packed[:, 0].clone(), packed[:, 0].clone()
    kernel.gather_rows(weight, bias, slots, ids, count, packed, packed_bias)
    naive.gather_rows(weight, bias, slots, ids, count, packed, expected)
    torch.testing.assert_close(packed_bias, expected, rtol=0, atol=0, equal_nan=True)


def test_nothing_to_fetch_leaves_the_packed_head_alone() -> None:
    weight = torch.randn(VOCAB_SIZE, 64, device=DEVICE)
    packed = poisoned(64, torch.float32)
    kernel.gather_rows(weight, None, *rows_to_copy(0), packed, None)
    assert packed.isnan().all()


def test_fewer_programs_than_rows_copy_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "MAX_PROGRAMS", 3)
    weight = torch.randn(VOCAB_SIZE, 64, device=DEVICE)
    slots, ids, count = rows_to_copy(CAPACITY)
    packed = poisoned(64, torch.float32)
    kernel.gather_rows(weight, None, slots, ids, count, packed, None)
    assert torch.equal(packed[slots.long()], weight[ids.long()])


def test_rows_beyond_two_to_the_31_elements_are_reached() -> None:
    rows = 2**31 // 64 + 3
    weight = torch.empty(rows, 64, dtype=torch.bfloat16, device=DEVICE)  # only the last row is ever touched
    weight[-1] = torch.arange(64)
    packed = poisoned(64, torch.bfloat16)
    slots, ids = (torch.tensor([i], dtype=torch.int32, device=DEVICE) for i in (7, rows - 1))
    kernel.gather_rows(weight, None, slots, ids, torch.ones_like(slots)[0], packed, None)
    assert packed[7].tolist() == list(range(64))


def test_a_head_whose_rows_are_not_contiguous_is_refused() -> None:
    weight = torch.randn(64, VOCAB_SIZE, device=DEVICE).T
    with pytest.raises(ValueError, match="weight must be contiguous"):
        kernel.gather_rows(weight, None, *rows_to_copy(1), poisoned(64, torch.float32), None)
