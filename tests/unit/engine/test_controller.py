"""A controller ends up with the fastest arm, whatever a text is like, and pays little to find out."""

from __future__ import annotations

import pytest
from drafting_costs import World, run

from specframe.contracts.report import Arm
from specframe.engine.drafting.controller import Controller, Measured

ARMS: tuple[Arm, ...] = ("pruned", "grown", "full")
# What becomes of a text in which every second token is outside the active set.
STRANGE_TEXT = {"oov": 0.4, "hit": 0.7}


def controller(*, can_stop: bool = True, arms: tuple[Arm, ...] = ARMS) -> Controller:
    return Controller(arms, 3, can_stop=can_stop)


def rest(pruned: float, grown: float, full: float) -> dict[Arm, float]:
    return {"pruned": pruned, "grown": grown, "full": full}


def test_a_text_that_is_covered_and_predicted_is_drafted_over_the_active_set() -> None:
    # One pass of 33 finds out what no draft costs.
    assert run(controller(), World(hit=0.6), 1000).share("pruned") > 0.93


def test_a_text_outside_the_active_set_is_drafted_over_a_full_head_that_costs_little() -> None:
    world = World(**STRANGE_TEXT, rest=rest(0.006, 0.0062, 0.0065))
    assert run(controller(), world, 1000).share("full") > 0.9


def test_a_text_outside_the_active_set_grows_it_where_the_full_head_is_dear() -> None:
    world = World(**STRANGE_TEXT, rest=rest(0.006, 0.0062, 0.05))
    done = run(controller(), world, 1000)
    assert done.share("grown") > 0.85
    assert done.share("full") < 0.01


def test_an_active_set_that_grew_in_vain_shrinks_again() -> None:
    chosen = controller()
    world = World(**STRANGE_TEXT, rest=rest(0.006, 0.0062, 0.05))
    assert run(chosen, world, 300).arms[-1] == "grown"
    assert run(chosen, World(hit=0.7, oov=0.0, rest=rest(0.006, 0.012, 0.05)), 300).share("pruned") > 0.7


def test_a_full_head_is_left_when_the_text_returns_to_the_active_set() -> None:
    chosen = controller()
    assert run(chosen, World(**STRANGE_TEXT, rest=rest(0.006, 0.0062, 0.0065)), 300).arms[-1] == "full"
    done = run(chosen, World(hit=0.7, oov=0.0, rest=rest(0.006, 0.007, 0.02)), 400)
    assert done.share("full") < 0.1
    assert done.arms[-100:].count("pruned") > 90


@pytest.mark.parametrize("hit", [0.02, 0.25])
def test_a_drafter_that_does_not_pay_is_stopped(hit: float) -> None:
    done = run(controller(), World(hit=hit), 1000)
    assert done.share("stopped") > 0.85
    assert done.arms[15:32].count("stopped") > 12, "it took long to notice"


def test_a_drafter_that_can_never_pay_costs_a_few_passes() -> None:
    chosen, world = controller(), World(hit=0.9, rest=rest(0.2, 0.2, 0.2))
    assert run(chosen, world, 100).share("stopped") > 0.8
    chosen.begin()
    assert run(chosen, world, 500).share("stopped") > 0.97


def test_drafting_goes_on_when_the_text_becomes_predictable() -> None:
    chosen = controller()
    assert run(chosen, World(hit=0.02), 300).share("stopped") > 0.85
    done = run(chosen, World(hit=0.8), 300)
    assert "pruned" in done.arms[:120]
    assert done.arms[-150:].count("pruned") > 130


def test_a_stopped_drafter_is_asked_less_often_the_dearer_it_is() -> None:
    cheap, dear = (
        run(controller(), World(hit=0.02, rest=rest(*[seconds] * 3)), 1000).share("pruned")
        for seconds in (0.006, 0.06)
    )
    assert dear < cheap / 2


@pytest.mark.parametrize("hit", [0.02, 0.25, 0.42, 0.6, 0.8])
@pytest.mark.parametrize("oov", [0.02, 0.3])
def test_what_is_lost_against_the_best_arm_is_bounded(hit: float, oov: float) -> None:
    world = World(hit=hit, oov=oov)
    done = run(controller(), world, 2000)
    assert done.tokens / done.seconds > 0.94 * world.rate(world.best)


def test_between_arms_of_equal_speed_it_does_not_hurry_back_and_forth() -> None:
    world = World(hit=0.45, oov=0.0, noise=0.2)
    assert world.rate("pruned") == pytest.approx(world.rate("stopped"), rel=0.04)
    # A trial is two changes, and there is one every 16 passes at most.
    assert run(controller(), world, 1000).changes < 140


def test_a_machine_that_becomes_slow_does_not_stop_the_drafts() -> None:
    chosen, usual = controller(), World(hit=0.6)
    run(chosen, usual, 200)
    slow = World(hit=0.6, alone=0.06, tree=0.084, rest=rest(0.018, 0.021, 0.036))
    assert run(chosen, slow, 200).share("pruned") > 0.9


def test_a_machine_that_becomes_fast_does_not_start_the_drafts_for_long() -> None:
    slow = World(hit=0.2, alone=0.06, tree=0.084, rest=rest(0.018, 0.021, 0.036))
    chosen = controller()
    run(chosen, slow, 200)
    assert run(chosen, World(hit=0.2), 200).share("stopped") > 0.8


def test_a_captured_step_counts_as_a_head() -> None:
    chosen = controller()
    for arm, seconds in ((chosen.choose(), 0.1), (chosen.choose(), 0.1)):
        chosen.observe(arm, {"target_pass": 1.0, "draft_backbone": seconds}, [True], at_leaf=False)
    assert chosen.cost("pruned") == pytest.approx(1.1)


def test_trees_that_copy_the_context_deep_down_make_no_token_worth_more() -> None:
    world = World(hit=0.85, oov=0.02, rest=rest(0.006, 0.03, 0.0085))
    chosen = [Controller(ARMS, depth, can_stop=True) for depth in (6, 38)]
    shallow, deep = (run(one, world, 600).arms for one in chosen)
    assert shallow == deep


def test_a_drafter_that_cannot_pause_is_never_stopped() -> None:
    done = run(controller(can_stop=False), World(hit=0.02), 300)
    assert done.share("stopped") == 0


def test_the_full_vocabulary_alone_can_be_stopped_too() -> None:
    assert run(controller(arms=("full",)), World(hit=0.02), 300).share("stopped") > 0.8


def test_costs_outlive_a_request_and_the_text_does_not() -> None:
    chosen = controller()
    run(chosen, World(hit=0.02), 200)
    chosen.begin()
    first = run(chosen, World(hit=0.7), 20).arms
    assert first[0] == "pruned"
    assert "stopped" not in first, "it measured again what it knew"


@pytest.mark.parametrize("passes", range(1, 12))
def test_short_requests_leave_nothing_half_known(passes: int) -> None:
    chosen = controller()
    for seed in range(4):
        chosen.begin()
        run(chosen, World(hit=0.7), passes, seed)
    chosen.begin()
    assert run(chosen, World(hit=0.7), 64).share("pruned") > 0.85


def test_costs_by_another_clock_are_forgotten() -> None:
    chosen = controller()
    run(chosen, World(hit=0.7), 100)
    chosen.forget_costs()
    chosen.begin()
    assert "stopped" in run(chosen, World(hit=0.7), 10).arms, "what no draft costs is not known any more"


def test_time_that_the_consumer_takes_is_no_cost() -> None:
    chosen = controller(arms=("full",), can_stop=False)
    for _ in range(3):
        arm = chosen.choose()
        chosen.observe(arm, {"target_pass": 0.5, "draft_head": 0.25, "consumer": 9.0}, [True], at_leaf=False)
    assert chosen.cost("full") == pytest.approx(1.5)


def test_a_mean_forgets_outliers_and_old_values() -> None:
    cost = Measured()
    assert cost.value(0) is None
    for now in range(9):
        cost.add(1.0 if now != 4 else 50.0, now)
    assert cost.value(8) == 1.0
    assert cost.value(20, expiry=12) == 1.0
    assert cost.value(21, expiry=12) is None
    for now in range(9, 18):
        cost.add(2.0, now)
    assert cost.value(17) == 2.0


def test_a_drafter_that_only_seemed_dear_is_found_out_in_later_requests() -> None:
    chosen = controller()
    run(chosen, World(hit=0.7, rest=rest(0.3, 0.3, 0.3)), 100)
    for _ in range(12):
        chosen.begin()
        done = run(chosen, World(hit=0.7), 100)
    assert done.share("pruned") > 0.85
