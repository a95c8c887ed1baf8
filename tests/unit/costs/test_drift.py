"""Costs that a machine does not keep to move to what it does; those that it keeps to stay."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from paper_machines import SLOPED, paper_costs

from specframe.costs.drift import Observed, refined

COSTS = paper_costs(SLOPED)
NODES = (1, 4, 8, 12)


def steps(
    count: int,
    passes: Callable[[int], float] = lambda nodes: 1.0,
    drafts: float = 1.0,
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> list[Observed]:
    """Return steps of a machine whose passes take so many times as long as expected, by their nodes."""
    source = random.Random(seed)
    found = []
    for step in range(count):
        nodes, expected_draft = NODES[step % len(NODES)], 0.002
        expected = COSTS.target_pass(nodes, 32)
        scale = max(source.gauss(1.0, noise), 0.2)
        found.append(
            Observed(
                nodes,
                32,
                expected * passes(nodes) * scale,
                expected,
                expected_draft * drafts * scale,
                expected_draft,
                head_drafted=True,
            )
        )
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_machine_that_keeps_to_its_costs_leaves_them_as_they_are(seed: int) -> None:
    assert refined(COSTS, steps(200, noise=0.2, seed=seed)) is None


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_all_of_a_machine_that_becomes_slow_or_fast_is_scaled(factor: float) -> None:
    found = refined(COSTS, steps(48, lambda nodes: factor, factor))
    assert found is not None
    for nodes in (1, 2, 8, 16, 32):
        assert found.pass_s(nodes) == pytest.approx(factor * COSTS.pass_s(nodes))
    assert found.draft_s == pytest.approx(factor * COSTS.draft_s)
    assert found.level_s(2) == pytest.approx(factor * COSTS.level_s(2))
    assert found.head(4, 1024) == pytest.approx(factor * COSTS.head(4, 1024))
    assert found.head(1, None) == pytest.approx(factor * COSTS.head(1, None))


def test_drafts_alone_may_be_slower_than_expected() -> None:
    found = refined(COSTS, steps(48, drafts=3.0))
    assert found is not None
    assert found.draft_s == pytest.approx(3 * COSTS.draft_s)
    assert all(found.pass_s(nodes) == pytest.approx(COSTS.pass_s(nodes)) for nodes in (1, 4, 8, 12, 32))


def test_a_number_of_nodes_that_is_off_moves_alone() -> None:
    found = refined(COSTS, steps(48, lambda nodes: 1.5 if nodes == 12 else 1.0))
    assert found is not None
    assert COSTS.pass_s(12) < found.pass_s(12) < 1.5 * COSTS.pass_s(12)
    for nodes in (1, 4, 8):
        assert found.pass_s(nodes) == pytest.approx(COSTS.pass_s(nodes))


def test_again_and_again_costs_come_as_close_as_is_asked_for() -> None:
    truth, costs = paper_costs({1: 30.0, 8: 60.0, 16: 140.0}), COSTS
    for _ in range(12):
        observed = [
            Observed(nodes, 32, truth.pass_s(nodes), costs.pass_s(nodes), 0.0, 0.0, head_drafted=False)
            for nodes in NODES
            for _ in range(8)
        ]
        costs = refined(costs, observed) or costs
    for nodes in NODES:
        assert costs.pass_s(nodes) == pytest.approx(truth.pass_s(nodes), rel=0.16)


def test_few_steps_say_nothing() -> None:
    assert refined(COSTS, steps(12, lambda nodes: 3.0, 3.0)) is None


def test_a_hiccup_says_nothing() -> None:
    assert refined(COSTS, [*steps(96), *steps(4, lambda nodes: 50.0, 50.0)]) is None


def test_a_clock_that_stands_still_says_nothing() -> None:
    assert refined(COSTS, steps(48, lambda nodes: 0.0, 1.0)) is None


def test_costs_of_a_request_without_drafts_say_nothing_about_drafts() -> None:
    alone = [Observed(1, 32, 0.04, 0.02, 0.0, 0.0, head_drafted=False)] * 48
    found = refined(COSTS, alone)
    assert found is not None
    assert (found.draft_s, found.level_s, found.whole_s) == (COSTS.draft_s, COSTS.level_s, COSTS.whole_s)


def copies(count: int, draft_s: float, expected_draft_s: float) -> list[Observed]:
    """Return steps that verify a path of the context, after passes as expected."""
    expected = COSTS.target_pass(8, 32)
    return [Observed(8, 32, expected, expected, draft_s, expected_draft_s, head_drafted=False)] * count


def test_what_copying_takes_says_nothing_about_the_head() -> None:
    found = refined(COSTS, [*copies(48, 0.010, 0.0005), *steps(24)])
    assert found is not None
    assert found.skip_s == pytest.approx(20 * COSTS.skip_s)
    assert (found.draft_s, found.level_s, found.whole_s) == (COSTS.draft_s, COSTS.level_s, COSTS.whole_s)


def test_copying_that_is_cheap_either_way_leaves_costs_as_they_are() -> None:
    assert refined(COSTS, copies(48, 0.0010, 0.0005)) is None


def test_a_few_drafts_tell_that_they_were_misjudged_grossly() -> None:
    found = refined(COSTS, [*copies(48, 0.0005, 0.0005), *steps(4, drafts=0.1)])
    assert found is not None
    assert found.draft_s == pytest.approx(COSTS.draft_s / 10)


def test_a_few_drafts_that_are_off_by_less_say_nothing() -> None:
    assert refined(COSTS, [*copies(48, 0.0005, 0.0005), *steps(4, drafts=0.6)]) is None


def test_the_error_of_a_step_is_a_share_of_what_it_took() -> None:
    assert Observed(1, 32, 0.030, 0.020, 0.010, 0.010, head_drafted=True).error == pytest.approx(0.25)
    assert Observed(1, 32, 0.0, 0.020, 0.0, 0.0, head_drafted=True).error == 0.0
