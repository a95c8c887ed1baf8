"""Tensors come out of safetensors files as they went in, whole or row by row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from specframe.ops.weight_files import SUPPORTED, WeightFiles

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="files cannot be read at an offset here")

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def written(path: Path, **tensors: Tensor) -> Path:
    save_file(tensors, path, metadata={"format": "pt"})
    return path


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("wanted", DTYPES)
def test_tensors_and_rows_are_those_that_were_saved(
    stored: torch.dtype, wanted: torch.dtype, tmp_path: Path
) -> None:
    one, other = torch.randn(7, 5).to(stored), torch.randn(11, 3).to(stored)
    files = WeightFiles([written(tmp_path / "a", one=one), written(tmp_path / "b", other=other)])
    rows, ids = files.rows("other", wanted), torch.tensor([[10, 0], [3, 10]])
    assert torch.equal(files.converted(files.tensor("one"), wanted), one.to(wanted))
    assert torch.equal(rows.at(ids), other.to(wanted)[ids])
    assert torch.equal(rows.whole, other.to(wanted))
    assert files.elements == 7 * 5 + 11 * 3


def test_tensors_are_right_after_their_pages_were_given_back(tmp_path: Path) -> None:
    one = torch.randn(2000, 50)
    files = WeightFiles([written(tmp_path / "a", one=one)])
    mapped = files.tensor("one")
    assert torch.equal(mapped, one)
    files.release()
    assert torch.equal(mapped, one)


def test_no_rows_are_an_empty_matrix(tmp_path: Path) -> None:
    rows = WeightFiles([written(tmp_path / "a", one=torch.randn(4, 3))]).rows("one", torch.float32)
    assert rows.at(torch.empty(0, dtype=torch.int64)).shape == (0, 3)


@pytest.mark.parametrize("id", [-1, 4])
def test_a_row_of_another_tensor_is_never_read(id: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a", one=torch.randn(4, 3), two=torch.randn(4, 3))
    with pytest.raises(IndexError, match="of 4"):
        WeightFiles([path]).rows("one", torch.float32).at(torch.tensor([0, id]))


@pytest.mark.parametrize("size", [3, 60, -4])
def test_a_file_that_is_cut_off_is_refused(size: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a", one=torch.randn(4, 3))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"."):
        WeightFiles([path])


def test_integers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ids has dtype I64"):
        WeightFiles([written(tmp_path / "a", ids=torch.arange(4))])
