"""Whether a strategy forgets its requests is asked only of steps that the same costs decided."""

from __future__ import annotations

import attrs
import pytest
from bench_rows import row

from specframe.bench.checks import check_isolation
from specframe.bench.rows import Steps

STEPS = row().steps
assert STEPS is not None
OTHER = attrs.evolve(STEPS, tree_nodes=[8, 9])


def passed(again: Steps, costs: str | None, first: str | None = "0a1b2c3d") -> bool | None:
    return check_isolation("nanospec", row(costs=first), again, costs).passed


@pytest.mark.parametrize(("again", "expected"), [(STEPS, True), (OTHER, False)])
@pytest.mark.parametrize("costs", ["0a1b2c3d", None])
def test_the_same_costs_must_give_the_same_steps(again: Steps, expected: bool, costs: str | None) -> None:
    assert passed(again, costs, costs) is expected


def test_a_drafter_that_is_kept_warm_is_not_asked_whether_it_forgets() -> None:
    first = row(costs=None)
    warm = attrs.evolve(first, report=attrs.evolve(first.report, warm="shared"))
    assert check_isolation("suffix", warm, OTHER, None).passed is None


@pytest.mark.parametrize("costs", ["d3c2b1a0", None])
def test_other_costs_may_give_other_steps(costs: str | None) -> None:
    assert passed(OTHER, costs) is None
