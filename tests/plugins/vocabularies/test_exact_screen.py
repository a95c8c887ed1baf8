"""What ``exact-screen`` proposes is what ``full`` would."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.options import build_options
from specframe.errors import UsageError
from specframe.registry.components import Setting
from specframe_plugins.vocabularies.components.exact_screen import COMPONENT, ExactScreenOptions
from specframe_plugins.vocabularies.exact_screen import ExactScreen

pytestmark = pytest.mark.numbers


class NoStates:
    """Nothing is fitted to states, so none may be asked for."""

    key = "none"

    def sample(self, count: int) -> Tensor:
        raise AssertionError("asked for states")


def screen_of(head: OutputHead, width: int = 32) -> ExactScreen:
    screen = ExactScreen(width)
    screen.bind(head, NoStates())
    return screen


def head_of(seed: int, count: int = 1024, width: int = 96, **kind: object) -> OutputHead:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(count, width, generator=generator)
    return OutputHead(weight, **kind)  # type: ignore[arg-type]  # scale, softcap and bias


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    k=st.integers(1, 10),
    width=st.integers(10, 64),
    scale=st.sampled_from([1.0, 0.25]),
    softcap=st.sampled_from([None, 30.0]),
    with_bias=st.booleans(),
    sharpness=st.sampled_from([0.0, 0.05, 1.0, 30.0]),
)
def test_the_best_rows_are_among_the_candidates(
    seed: int,
    k: int,
    width: int,
    scale: float,
    softcap: float | None,
    with_bias: bool,
    sharpness: float,
) -> None:
    bias = torch.randn(1024, generator=torch.Generator().manual_seed(seed)) if with_bias else None
    head = head_of(seed, bias=bias, scale=scale, softcap=softcap)
    hidden = sharpness * torch.randn(3, 96, generator=torch.Generator().manual_seed(seed + 1))
    found = screen_of(head, width).screen_topk(hidden, k)
    assert found.logits is not None
    expected = head.logits(hidden)
    best = found.logits.topk(k, dim=1).values
    torch.testing.assert_close(best, expected.topk(k, dim=1).values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.logits, expected.gather(1, found.rows), rtol=1e-5, atol=1e-4)
    assert all(len(set(row)) == width for row in found.rows.tolist())


def test_where_more_cannot_be_excluded_a_state_gets_the_full_product() -> None:
    head = OutputHead(torch.randn(1, 96).expand(1024, 96).contiguous())
    screen = screen_of(head, 8)
    found = screen.screen_topk(torch.randn(2, 96), 4)
    assert screen.doubted == 2
    assert all(len(set(row)) == 8 for row in found.rows.tolist())


def test_a_state_in_doubt_leaves_the_others_alone() -> None:
    head = head_of(0)
    screen = screen_of(head, 8)
    hidden = head.weight[[5, 6]].clone()
    alone = screen.screen_topk(hidden, 4)
    beside = screen.screen_topk(torch.cat([hidden, torch.zeros(1, 96)]), 4)
    assert screen.doubted == 1
    assert torch.equal(alone.rows, beside.rows[:2])


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_states_that_are_not_finite_are_left_to_the_full_product(broken: float) -> None:
    screen = screen_of(head_of(0), 8)
    screen.screen_topk(torch.full((1, 96), broken), 4)
    assert screen.doubted == 1


def test_the_total_is_that_of_all_rows() -> None:
    head = head_of(3)
    hidden = 0.3 * torch.randn(20, 96, generator=torch.Generator().manual_seed(1))
    found = screen_of(head, 64).screen_topk(hidden, 4)
    assert found.log_total is not None
    torch.testing.assert_close(found.log_total, head.logits(hidden).logsumexp(dim=1), rtol=0, atol=5e-3)


def test_half_precision_is_widened_before_rows_are_compared() -> None:
    generator = torch.Generator().manual_seed(0)
    head = OutputHead(torch.randn(1024, 96, generator=generator).bfloat16())
    hidden = torch.randn(6, 96, generator=generator).bfloat16()
    found = screen_of(head).screen_topk(hidden, 4)
    assert found.logits is not None
    wide = hidden.float() @ head.weight.float().T
    at = found.logits.topk(4, dim=1).indices
    assert torch.equal(found.rows.gather(1, at), wide.topk(4, dim=1).indices)


def test_it_keeps_a_quarter_of_the_bytes() -> None:
    head = head_of(0, count=4096, width=256)
    held = sum(tensor.nbytes for tensor in screen_of(head).held())
    assert held < 0.4 * head.weight.nbytes


@pytest.mark.parametrize(("device", "allowed"), [("cpu", True), ("cuda", False)])
def test_it_is_for_cpus(device: str, allowed: bool) -> None:
    setting = Setting(
        device=torch.device(device),
        dtype=torch.float32,
        vocabulary="exact-screen",
        gather="auto",
        drafter="eagle",
        verifier="auto",
    )
    assert (COMPONENT.supports(setting) is None) == allowed


def test_no_candidates_are_refused() -> None:
    with pytest.raises(UsageError, match="candidates"):
        build_options(ExactScreenOptions, {"candidates": "0"}, "vocabulary 'exact-screen'")
