"""A screened target head has the first choices of the full product."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_target
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.tree import DraftTree
from specframe.model.target_head import Choices, ScreenedTargetHead
from specframe.ops.row_maxima import row_max

pytestmark = pytest.mark.numbers


def head_of(dtype: torch.dtype, seed: int = 0, **kind: object) -> OutputHead:
    weight = torch.randn(1024, 96, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return OutputHead(weight, **kind)  # type: ignore[arg-type]  # bias, scale and softcap


def states(count: int, dtype: torch.dtype, seed: int = 1) -> Tensor:
    return torch.randn(count, 96, generator=torch.Generator().manual_seed(seed)).to(dtype)


def look(head: OutputHead, hidden: Tensor) -> Choices:
    return ScreenedTargetHead(head).look(hidden)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    sharpness=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    softcap=st.sampled_from([None, 5.0]),
    scale=st.sampled_from([1.0, 0.3]),
    with_bias=st.booleans(),
)
def test_the_first_choice_is_the_full_products(
    seed: int, dtype: torch.dtype, sharpness: float, softcap: float | None, scale: float, with_bias: bool
) -> None:
    bias = torch.randn(1024, generator=torch.Generator().manual_seed(seed)).to(dtype) if with_bias else None
    head = head_of(dtype, seed, bias=bias, softcap=softcap, scale=scale)
    hidden = sharpness * states(6, dtype, seed)
    assert torch.equal(look(head, hidden).best()[1], row_max(head.logits(hidden))[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_equal_rows_the_first_is_chosen(dtype: torch.dtype) -> None:
    head = head_of(dtype)
    head.weight[700] = head.weight[30]
    head.weight[31] = head.weight[30]
    hidden = head.weight[30:31].clone()
    assert look(head, hidden).best()[1].tolist() == row_max(head.logits(hidden))[1].tolist()


def test_where_rounding_decides_the_full_product_is_asked() -> None:
    head = head_of(torch.float32)
    head.weight[700] = head.weight[30] * (1 + 1e-6)
    choices = look(head, head.weight[30:31].clone())
    choices.best()
    assert "logits" in vars(choices)


def test_clear_choices_leave_the_full_product_alone() -> None:
    choices = look(head_of(torch.float32), states(8, torch.float32))
    choices.best()
    choices.top_ids(3)
    assert "logits" not in vars(choices)


def test_the_first_few_are_the_full_products() -> None:
    head, hidden = head_of(torch.float32), states(8, torch.float32)
    assert torch.equal(look(head, hidden).top_ids(3), head.logits(hidden).topk(3, dim=1).indices)


def test_more_than_the_candidates_come_from_the_full_product() -> None:
    head, hidden = head_of(torch.float32), states(2, torch.float32)
    assert torch.equal(look(head, hidden).top_ids(50), head.logits(hidden).topk(50, dim=1).indices)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_logit_that_is_not_finite_shows(broken: float) -> None:
    values, _ = look(head_of(torch.float32), torch.full((2, 96), broken)).best()
    assert not values.isfinite().any()


def test_where_all_logits_are_needed_nothing_is_screened() -> None:
    target = tiny_target()
    loaded = target._loaded
    screened = type(target)(loaded, head="exact-screen")
    screened.begin(8)
    screened.prefill(torch.tensor([3, 4]))
    tree = DraftTree.root_only(5)
    assert isinstance(screened.tree_pass(tree).output, Choices)
    assert not isinstance(screened.tree_pass(tree, whole=True).output, Choices)
