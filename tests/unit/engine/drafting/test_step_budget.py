"""What is drafted follows the costs and the text, on machines and texts that exist on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from drafted_texts import CONTEXT, DEEPEST, ROWS, Run, Text, decided, fixed
from paper_machines import FLAT, IN_PROPORTION, SLOPED, paper_costs

from specframe.costs.model import CostModel
from specframe.engine.drafting.step_budget import StepBudget

GOOD, POOR = Text(hit=0.75), Text(hit=0.1)

MACHINES = {
    "passes of any size cost the same": paper_costs(FLAT),
    "arithmetic costs": paper_costs(SLOPED),
    "every node is another pass": paper_costs(IN_PROPORTION),
    "a second node costs half a pass": paper_costs({1: 20.0, 2: 30.0, 8: 90.0}),
    "free levels": paper_costs(SLOPED, draft=0.3, level=0.0, head=0.0),
    "dear levels": paper_costs(FLAT, level=12.0),
    "a dear head": paper_costs(SLOPED, head=6.0, whole=200.0),
    "a long context": paper_costs(SLOPED, context={1: 0.0, 8: 0.02}),
}
SHAPES: Sequence[Sequence[int]] = ((), (1,), (1, 1, 1), (1,) * 7, (2,), (4, 4), (4, 4, 4))


def mean(values: Sequence[int], of: Run, kind: str = "active") -> float:
    chosen = [value for value, one in zip(values, of.kinds, strict=True) if one == kind]
    return sum(chosen) / len(chosen)


@pytest.mark.parametrize("hit", [0.02, 0.2, 0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("machine", MACHINES)
def test_it_is_never_slower_than_no_drafts(machine: str, hit: float) -> None:
    costs = MACHINES[machine]
    assert decided(costs, Text(hit)).speed > 0.97 * fixed(costs, Text(hit), None).speed


@pytest.mark.parametrize("hit", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("machine", MACHINES)
def test_it_is_nearly_as_fast_as_the_best_fixed_shape(machine: str, hit: float) -> None:
    costs, text = MACHINES[machine], Text(hit)
    best = max(fixed(costs, text, shape, 200).speed for shape in SHAPES)
    assert decided(costs, text).speed > 0.88 * best


@pytest.mark.parametrize("sure", [0.5, 0.9])
def test_a_head_that_promises_what_it_does_not_keep_is_found_out(sure: float) -> None:
    costs = MACHINES["a second node costs half a pass"]
    honest, boastful = Text(hit=0.1, sure=0.1), Text(hit=0.1, sure=sure)
    assert decided(costs, boastful).speed > 0.93 * decided(costs, honest).speed
    assert decided(costs, boastful, 60).speed > 0.85 * fixed(costs, boastful, None).speed


def test_nodes_that_cost_nothing_make_large_trees() -> None:
    large, small = (
        decided(MACHINES["passes of any size cost the same"], GOOD),
        decided(MACHINES["a second node costs half a pass"], GOOD),
    )
    assert mean(large.nodes, large) > 3 * mean(small.nodes, small)


def test_where_every_node_is_another_pass_nothing_is_drafted() -> None:
    run = decided(MACHINES["every node is another pass"], Text(hit=0.95))
    assert run.share("none") == 1
    assert run.speed == pytest.approx(1 / MACHINES["every node is another pass"].pass_s(1))


def test_levels_that_cost_nothing_make_deep_trees_and_dear_ones_shallow_trees() -> None:
    cheap = decided(paper_costs(FLAT, level=0.0, head=0.0), GOOD)
    dear = decided(paper_costs(FLAT, level=25.0), GOOD)
    assert mean(cheap.levels, cheap) > 5
    assert mean(dear.levels, dear) < 1.5


def test_levels_are_as_wide_as_their_nodes_are_cheap() -> None:
    def widths(level: dict[int, float]) -> list[int]:
        budget = StepBudget(paper_costs({1: 20.0}, level=level), CONTEXT, DEEPEST)
        budget.begin(CONTEXT, ROWS)
        budget.ask()
        likely = [math.log(one) for one in (0.6, 0.3, 0.06, 0.02)]
        return [budget.beams(likely)]

    assert widths({1: 0.5, 4: 0.5}) == [4]
    assert widths({1: 0.5, 4: 60.0}) == [1]


def test_a_sure_path_of_the_context_stands_alone() -> None:
    # The likelier the path, the less a head has to add to it.
    costs = paper_costs(SLOPED, draft=4.0, head=2.0)
    budget = StepBudget(costs, CONTEXT, DEEPEST)
    budget.begin(CONTEXT, ROWS)
    budget.ask()
    assert not budget.wants_head([math.log(0.99)] * 4)
    assert budget.kind == "none", "nothing was drafted yet"
    budget.begin(CONTEXT, ROWS)
    assert budget.wants_head([math.log(0.1)] * 4)


def test_where_the_context_often_says_how_it_goes_on_the_head_drafts_less() -> None:
    costs = paper_costs(SLOPED, draft=3.0)
    run = decided(costs, Text(hit=0.4, copies=0.7, copied=0.97))
    assert run.share("copied") > 0.5
    assert run.speed > decided(costs, Text(hit=0.4)).speed


def test_a_path_of_the_context_is_taken_where_no_head_pays() -> None:
    costs = paper_costs(SLOPED, draft=60.0)
    run = decided(costs, Text(hit=0.3, copies=1.0, copied=0.9))
    assert run.share("copied") > 0.95
    assert run.speed > 2 * fixed(costs, GOOD, None).speed


def test_a_path_of_the_context_that_never_follows_is_cut_off() -> None:
    costs = paper_costs({1: 20.0, 2: 24.0, 8: 40.0}, draft=60.0)
    run = decided(costs, Text(hit=0.0, copies=1.0, copied=0.001))
    assert run.kinds[-100:].count("none") > 95


def full_share(costs: CostModel, oov: float) -> float:
    return decided(costs, Text(hit=0.7, oov=oov)).share("full")


def test_many_tokens_outside_the_active_set_take_a_full_vocabulary_that_costs_little() -> None:
    assert full_share(paper_costs(whole=0.7), oov=0.25) > 0.8


def test_a_full_vocabulary_that_costs_much_is_left_alone() -> None:
    assert full_share(paper_costs(whole=15.0), oov=0.25) < 0.05


def test_a_text_inside_the_active_set_needs_no_other() -> None:
    assert full_share(paper_costs(whole=0.9), oov=0.0) < 0.2


def test_a_full_vocabulary_that_costs_less_than_the_active_set_is_taken_at_once() -> None:
    assert decided(paper_costs(head=2.0, whole=0.5), GOOD).kinds[0] == "full"


def test_a_drafter_that_does_not_pay_is_stopped_soon() -> None:
    costs = MACHINES["a dear head"]
    run = decided(costs, Text(hit=0.02), 400)
    assert run.kinds[:40].count("none") > 20
    assert run.kinds[40:].count("none") > 0.9 * 360


def test_trials_of_a_drafter_that_never_pays_cost_little_for_ever() -> None:
    costs, text = MACHINES["a dear head"], Text(hit=0.02)
    budget = StepBudget(costs, CONTEXT, DEEPEST)
    decided(costs, text, 100, budget=budget)
    later = decided(costs, text, 600, budget=budget, seed=1)
    assert later.kinds.count("active") >= 1, "it is never tried again"
    assert later.speed > 0.975 * fixed(costs, text, None).speed


@pytest.mark.parametrize("machine", ["a dear head", "a second node costs half a pass"])
def test_drafting_goes_on_when_the_text_becomes_predictable(machine: str) -> None:
    costs = MACHINES[machine]
    budget = StepBudget(costs, CONTEXT, DEEPEST)
    decided(costs, Text(hit=0.02), 150, budget=budget)
    later = decided(costs, Text(hit=0.95), 300, budget=budget, seed=1)
    assert later.kinds[-100:].count("active") > 95


def test_a_good_text_that_becomes_poor_is_drafted_less() -> None:
    costs = MACHINES["a dear head"]
    budget = StepBudget(costs, CONTEXT, DEEPEST)
    decided(costs, Text(hit=0.9), 150, budget=budget)
    later = decided(costs, Text(hit=0.02), 300, budget=budget, seed=1)
    assert later.kinds[-150:].count("none") > 110


@pytest.mark.parametrize("hit", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("machine", MACHINES)
def test_a_second_is_never_worth_less_than_without_drafts(machine: str, hit: float) -> None:
    costs = MACHINES[machine]
    budget = StepBudget(costs, CONTEXT, DEEPEST)
    for seed in range(4):
        decided(costs, Text(hit), 10, budget=budget, seed=seed)
        assert budget.price >= 1 / budget.pass_s(1) - 1e-9


def test_the_same_text_and_costs_decide_the_same() -> None:
    one, other = (decided(MACHINES["arithmetic costs"], Text(hit=0.5, oov=0.1, copies=0.3)) for _ in range(2))
    assert (one.kinds, one.nodes, one.levels) == (other.kinds, other.nodes, other.levels)


def test_a_drafter_without_levels_has_nothing_to_be_asked_about() -> None:
    budget = StepBudget(paper_costs(width=1), CONTEXT, 0)
    budget.begin(CONTEXT, ROWS)
    assert budget.price > 0


def test_probabilities_that_are_none_grant_no_level() -> None:
    budget = StepBudget(paper_costs({1: 20.0}, level=0.0, head=0.0), CONTEXT, DEEPEST)
    budget.begin(CONTEXT, ROWS)
    budget.ask()
    assert budget.beams([-math.inf, -math.inf]) == 0
