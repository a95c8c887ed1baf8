"""What a step costs, from the curves of its parts."""

from __future__ import annotations

import attrs
import pytest
from paper_machines import FLAT, IN_PROPORTION, paper_costs


def test_every_token_of_context_beyond_the_measured_ones_makes_a_pass_longer() -> None:
    costs = paper_costs({1: 20.0, 9: 28.0}, context={1: 0.01, 9: 0.03})
    assert costs.target_pass(1, 132) == pytest.approx(0.021)
    assert costs.target_pass(5, 132) == pytest.approx(0.024 + 0.002)


def test_a_context_that_is_shorter_than_the_measured_one_costs_as_much() -> None:
    costs = paper_costs({1: 20.0, 8: 24.0}, context={1: 2.0, 8: 1.0})
    assert costs.target_pass(8, 1) == costs.pass_s(8)


def test_a_head_call_takes_longer_with_every_state_up_to_the_widest_level() -> None:
    costs = paper_costs(head={512: 1.0, 2048: 2.0}, wide_head={512: 4.0, 2048: 8.0}, width=4)
    assert [costs.head(states, 512) for states in (1, 2, 4)] == pytest.approx([0.001, 0.002, 0.004])
    assert costs.head(4, 2048) == pytest.approx(0.008)


def test_a_wide_call_that_looks_cheaper_than_a_narrow_one_costs_as_much() -> None:
    assert paper_costs(head=2.0, wide_head=1.0).head(4, 512) == 0.002


def test_a_head_over_all_rows_has_a_curve_of_its_own() -> None:
    assert paper_costs(head=1.0, whole={1: 8.0, 4: 11.0}).head(2, None) == pytest.approx(0.009)


def test_a_drafter_of_chains_calls_its_head_for_one_state() -> None:
    assert paper_costs(head=1.5, width=1).head(1, 512) == 0.0015


def test_a_draft_is_its_first_level_the_further_ones_and_a_head_call_for_each() -> None:
    costs = paper_costs(draft=3.0, level={1: 1.0, 4: 2.5}, head=0.5, wide_head=2.0)
    assert costs.draft([], 512) == pytest.approx(0.0035)
    assert costs.draft([4, 1], 512) == pytest.approx(0.0035 + 0.0045 + 0.0015)


def test_the_best_speed_of_paths_that_cost_nothing_takes_them_all() -> None:
    costs = paper_costs({1: 20.0})
    assert costs.speed([0.8, 0.5], 0.005, 32) == pytest.approx(2.3 / 0.025)


def test_the_best_speed_is_that_without_a_draft_where_none_pays() -> None:
    costs = paper_costs(IN_PROPORTION)
    assert costs.speed([0.8, 0.5], 0.005, 32) == pytest.approx(1 / 0.020)


def test_costs_are_called_by_what_they_say() -> None:
    costs = paper_costs(FLAT)
    assert costs.name == paper_costs(FLAT).name
    assert costs.name != attrs.evolve(costs, skip_s=0.0006).name


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"pass_s": paper_costs().pass_s.scaled(0.0)}, "1e-09 seconds or more"),
        ({"width": 0}, "width must be 1 to 4096"),
        ({"draft_s": -1.0}, "draft_s and skip_s must be 0 to 1e"),
        ({"skip_s": float("nan")}, "draft_s and skip_s must be 0 to 1e"),
        ({"context": -1}, "context must be 0 or more"),
    ],
)
def test_costs_that_no_machine_has_are_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        attrs.evolve(paper_costs(), **changes)
