"""Estimates from 8-bit rows are never further off than they say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from specframe.ops import bounded_rows
from specframe.ops.bounded_rows import BoundedRows

pytestmark = pytest.mark.numbers

SIZES = st.sampled_from([(1, 1), (3, 7), (40, 64), (65, 100), (300, 576)])
KINDS = st.sampled_from(
    ["random", "huge", "zero rows", "equal rows", "tiny", "denormal", "one column", "one entry", "mixed"]
)


def matrix(kind: str, count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, width, generator=generator)
    if kind == "huge":
        rows *= 1e15
    elif kind == "zero rows":
        rows[::2] = 0
    elif kind == "equal rows":
        rows[:] = rows[0].clone()
    elif kind == "tiny":
        rows *= 1e-20
    elif kind == "denormal":
        rows *= 1e-41
    elif kind == "one column":
        rows[:, width // 2] *= 1e4
    elif kind == "one entry":
        rows = torch.zeros(count, width)
        rows[torch.arange(count), torch.randint(width, (count,), generator=generator)] = 1.0
    elif kind == "mixed":
        rows *= 10.0 ** torch.randint(-12, 12, (count, 1), generator=generator)
    return rows


def bounded(weight: Tensor, bias: Tensor | None = None) -> BoundedRows:
    return BoundedRows(weight.__getitem__, *weight.shape, bias)


def check_bounds(weight: Tensor, bias: Tensor | None, vectors: Tensor) -> None:
    rows = bounded(weight, bias)
    estimates = rows.estimate(vectors)
    radius = estimates.reach.double()[:, None] * rows.scales.double() + rows.slack
    true = vectors.double() @ weight.double().T
    if bias is not None:
        true = true + bias.double()
    assert ((estimates.values.double() - true).abs() <= radius + 1e-37).all()
    in_float32 = torch.nn.functional.linear(vectors, weight, bias)
    highest = rows.at_most(estimates)
    assert (in_float32 <= highest + 1e-37).all()


@settings(max_examples=60, deadline=None)
@given(size=SIZES, rows=KINDS, states=KINDS, with_bias=st.booleans(), seed=st.integers(0, 2**16))
def test_no_product_is_further_off_than_said(
    size: tuple[int, int], rows: str, states: str, with_bias: bool, seed: int
) -> None:
    count, width = size
    weight = matrix(rows, count, width, seed)
    bias = torch.randn(count, generator=torch.Generator().manual_seed(seed)) if with_bias else None
    check_bounds(weight, bias, matrix(states, 3, width, seed + 1))


def test_the_bound_is_no_wider_than_eight_bits_make_it() -> None:
    weight, vectors = torch.randn(500, 576), torch.randn(8, 576)
    rows = bounded(weight)
    estimates = rows.estimate(vectors)
    radius = estimates.reach[:, None] * rows.scales
    sizes = vectors.norm(dim=1)[:, None] * weight.norm(dim=1)
    assert float((radius / sizes).max()) < 0.02
    true = vectors.double() @ weight.double().T
    assert float(((estimates.values - true).abs() / sizes).mean()) < 0.0005


def test_a_column_that_stands_out_costs_little() -> None:
    torch.manual_seed(0)
    weight, vectors = torch.randn(500, 576), torch.randn(8, 576)
    weight[:, 7] *= 20
    rows = bounded(weight)
    radius = rows.estimate(vectors).reach[:, None] * rows.scales
    assert float((radius / (vectors.norm(dim=1)[:, None] * weight.norm(dim=1))).max()) < 0.025


def test_without_integer_products_the_estimates_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, vectors = torch.randn(300, 100), torch.randn(4, 100)
    by_integers = bounded(weight).estimate(vectors)
    monkeypatch.setattr(bounded_rows, "_packed", lambda codes: None)
    plain = bounded(weight).estimate(vectors)
    torch.testing.assert_close(by_integers.values, plain.values, rtol=1e-5, atol=1e-5)
    assert torch.equal(by_integers.reach, plain.reach)


def test_a_product_that_is_not_exact_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, vectors = torch.randn(300, 100), torch.randn(4, 100)
    expected = bounded(weight).estimate(vectors).values
    honest = torch.ops.onednn.qlinear_pointwise

    def saturating(*arguments: object) -> Tensor:
        found: Tensor = honest(*arguments)
        return found.clamp(max=4e5)

    monkeypatch.setattr(torch.ops.onednn, "qlinear_pointwise", saturating)
    torch.testing.assert_close(bounded(weight).estimate(vectors).values, expected, rtol=1e-5, atol=1e-5)


def test_a_state_is_estimated_alone() -> None:
    weight, vectors = torch.randn(300, 100), torch.randn(5, 100)
    rows = bounded(weight)
    together, alone = rows.estimate(vectors), rows.estimate(vectors[2:3])
    torch.testing.assert_close(together.values[2:3], alone.values, rtol=1e-6, atol=1e-6)
    assert torch.equal(together.reach[2:3], alone.reach)
