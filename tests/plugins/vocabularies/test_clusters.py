from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from states import GivenStates, uneven_states

from specframe.contracts.lm_head import OutputHead
from specframe.errors import UsageError
from specframe.model.loading import CACHE_VARIABLE
from specframe_plugins.vocabularies.clusters import ClusterScreen, fitted, grouped

V, H = 256, 24


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))


def a_head(vocab_size: int = V) -> OutputHead:
    return OutputHead(torch.randn(vocab_size, H, generator=torch.Generator().manual_seed(1)))


def bound(head: OutputHead, groups: int, size: int, rows: int | None = None) -> ClusterScreen:
    screen = ClusterScreen(groups, size, rows)
    screen.bind(head, GivenStates(uneven_states(300, H), key=f"{head.vocab_size}"))
    return screen


def test_points_that_are_near_each_other_share_a_group() -> None:
    corners = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 30.0]])
    points = corners.repeat(8, 1) + torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    order = grouped(points, 8).view(4, 8)
    assert {frozenset((group % 4).tolist()) for group in order} == {frozenset({i}) for i in range(4)}


@pytest.mark.parametrize(("points", "size"), [(1, 4), (7, 4), (8, 4), (37, 5)])
def test_every_point_is_in_one_group(points: int, size: int) -> None:
    order = grouped(torch.randn(points, 3, generator=torch.Generator().manual_seed(0)), size)
    assert sorted(order.tolist()) == list(range(points))


def test_the_fit_finds_a_linear_function_of_the_states() -> None:
    source = torch.Generator().manual_seed(0)
    states, weight, offset = (torch.randn(*shape, generator=source) for shape in ((500, 5), (3, 5), (3,)))
    found = fitted(states, states @ weight.T + offset)
    torch.testing.assert_close(found, (weight, offset), atol=0.05, rtol=0.05)


def test_a_few_groups_hold_the_best_row_of_most_states() -> None:
    head, states = a_head(), uneven_states(200, H, seed=5)
    best = head.logits(states).argmax(dim=1)
    found = bound(head, 8, 4).screen(states).rows
    assert (found == best[:, None]).any(dim=1).float().mean() > 3 * 32 / V


@settings(max_examples=25, deadline=None)
@given(
    vocab_size=st.sampled_from([37, 256]),
    size=st.integers(1, 9),
    groups=st.integers(1, 4),
    n=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_candidates_are_rows_of_the_head_of_a_fixed_shape_and_none_comes_twice(
    vocab_size: int, size: int, groups: int, n: int, seed: int
) -> None:
    found = bound(a_head(vocab_size), groups, size).screen(uneven_states(n, H, seed)).rows
    assert (found.shape, found.dtype) == ((n, groups * size), torch.int64)
    assert ((found >= -1) & (found < vocab_size)).all()
    for rows in found.tolist():
        rows = [row for row in rows if row >= 0]
        assert len(set(rows)) == len(rows) > 0


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 8), seed=st.integers(0, 99))
def test_what_a_state_gets_does_not_depend_on_the_others_of_its_batch(n: int, seed: int) -> None:
    screen = bound(a_head(), 3, 8)
    states = uneven_states(n, H, seed)
    together, alone = screen.screen(states).rows, [screen.screen(state[None]).rows[0] for state in states]
    assert together.sort().values.tolist() == [rows.sort().values.tolist() for rows in alone]


def test_more_rows_than_there_are_is_one_line_before_states_are_asked_for() -> None:
    states = GivenStates(uneven_states(300, H))
    with pytest.raises(UsageError, match=r"^256 rows of an LM head of 256 .* for 264 candidates"):
        ClusterScreen(33, 8, 256).bind(a_head(), states)
    assert not states.asked
