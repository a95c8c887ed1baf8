"""The largest of every row are what PyTorch finds, however they are looked for."""

from __future__ import annotations

import pytest
import torch

from specframe.ops.row_maxima import row_max, row_topk, top_columns

pytestmark = pytest.mark.numbers

# Plain: too narrow, or no whole number of blocks. The others are searched by blocks.
WIDTHS = (101, 256, 5000, 2048, 8192)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [1, 5, 40])
def test_they_are_the_largest(dtype: torch.dtype, width: int, rows: int) -> None:
    logits = torch.randn(rows, width, generator=torch.manual_seed(width)).to(dtype)
    values, indices = row_topk(logits, 3)
    assert torch.equal(values.float(), logits.float().topk(3, dim=-1).values)
    assert torch.equal(logits.gather(1, indices).float(), values.float())
    assert all(len(set(row)) == 3 for row in indices.tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", WIDTHS)
def test_of_equal_maxima_the_first_is_found(dtype: torch.dtype, width: int) -> None:
    logits = torch.randint(0, 4, (30, width), generator=torch.manual_seed(0)).to(dtype)
    values, indices = row_max(logits)
    assert indices.tolist() == [row.index(max(row)) for row in logits.tolist()]
    assert set(values.tolist()) == {3.0}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_is_not_finite_is_the_maximum(width: int, broken: float) -> None:
    logits = torch.randn(4, width)
    logits[2, width - 7] = broken
    values, indices = row_max(logits)
    assert values.isfinite().tolist() == [True, True, False, True]
    assert int(indices[2]) == width - 7


def test_as_many_as_there_are_can_be_asked_for() -> None:
    logits = torch.randn(2, 1024)
    assert torch.equal(row_topk(logits, 1024)[0], logits.sort(dim=-1, descending=True).values)


def test_rows_that_are_not_contiguous_are_searched_too() -> None:
    logits = torch.randn(8192, 3).T
    assert torch.equal(row_max(logits)[1], logits.argmax(dim=-1))


def test_no_rows_have_no_maxima() -> None:
    assert row_topk(torch.empty(0, 8192), 3)[1].shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("width", "k"), [(101, 101), (256, 100), (2048, 100), (8192, 256), (8200, 256)])
def test_many_of_the_largest_are_found_in_any_order(dtype: torch.dtype, width: int, k: int) -> None:
    logits = torch.randn(5, width, generator=torch.manual_seed(width)).to(dtype)
    columns = top_columns(logits, k)
    assert torch.equal(logits.gather(1, columns).sort(descending=True).values, logits.topk(k, dim=-1).values)
    assert all(len(set(row)) == k for row in columns.tolist())


def test_of_equal_columns_none_is_found_twice() -> None:
    columns = top_columns(torch.zeros(2, 8192), 256)
    assert all(len(set(row)) == 256 for row in columns.tolist())


def test_many_columns_of_no_rows_are_none() -> None:
    assert top_columns(torch.empty(0, 8192), 256).shape == (0, 256)
