"""Whether drafts are worth their time, decided over made-up machines."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from specframe_vllm.worth import MARGIN, Judgement, Worth, bucket

Gain = Callable[[int], float]


class Machine:
    """A step takes 1 second without drafts; with them tau is 2, and time such that they gain what they do.

    Args:
        gain: of drafts, by how many requests there are.
        noise: by how much a step's seconds vary.
    """

    def __init__(self, gain: Gain, noise: float = 0.0) -> None:
        self.gain, self._noise = gain, noise
        self.worth, self.changes = Worth(), list[Judgement]()
        self._source, self._before = random.Random(0), False

    def run(self, requests: int, steps: int) -> float:
        """Go on for so many steps; return which share of them was drafted."""
        drafted_steps = 0
        for _ in range(steps):
            drafted = self.worth.drafts(requests)
            drafted_steps += drafted
            if drafted == self._before:  # otherwise the step has drafts and makes none, or the reverse
                accepted = sum(self._source.random() < 0.5 for _ in range(2 * requests))
                tokens = requests + accepted if drafted else requests
                seconds = (2 / self.gain(requests) if drafted else 1) * self._source.uniform(
                    1, 1 + self._noise
                )
                changed = self.worth.took(requests, drafted, seconds, tokens)
                if changed is not None:
                    self.changes.append(changed)
            self._before = drafted
        return drafted_steps / steps


@pytest.mark.parametrize(("gain", "share"), [(0.8, 0.0), (1.3, 1.0)])
@pytest.mark.parametrize("requests", [1, 4, 16, 100])
def test_the_better_way_is_found_and_kept(requests: int, gain: float, share: float) -> None:
    machine = Machine(lambda _: gain, noise=0.05)
    machine.run(requests, 400)
    assert machine.run(requests, 5000) == pytest.approx(share, abs=0.03)


def test_twenty_steps_are_enough_at_16_requests() -> None:
    machine = Machine(lambda _: 0.8)
    machine.run(16, 20)
    assert [(change.requests, change.drafted) for change in machine.changes] == [(16, False)]
    assert machine.changes[0].gain == pytest.approx(0.8, rel=0.2)


@pytest.mark.parametrize("gain", [0.8, 1.3])
def test_trying_the_other_way_takes_a_bounded_share_of_steps(gain: float) -> None:
    machine = Machine(lambda _: gain)
    machine.run(16, 500)
    before = machine.worth.tried
    machine.run(16, 10_000)
    assert 0 < machine.worth.tried - before < 0.01 * 10_000


def test_two_ways_that_are_as_good_seldom_take_turns() -> None:
    machine = Machine(lambda _: 1.0, noise=0.02)
    machine.run(16, 10_000)
    assert len(machine.changes) <= 5


def test_a_gain_below_the_margin_changes_nothing() -> None:
    worth = Worth()
    for _ in range(200):
        drafted = worth.drafts(8)
        worth.took(8, drafted, 2 / (1 - MARGIN / 2) if drafted else 1, 16 if drafted else 8)
    assert worth.undrafted_from is None


def test_what_does_not_pay_for_few_requests_is_not_tried_first_for_more() -> None:
    machine = Machine(lambda _: 0.8)
    machine.run(8, 100)
    assert not machine.worth.drafts(64)


def test_what_does_not_pay_for_many_requests_is_still_drafted_for_few() -> None:
    machine = Machine(lambda requests: 1.3 if requests < 8 else 0.8)
    machine.run(16, 200)
    assert machine.worth.drafts(2)


def test_a_size_between_two_others_goes_as_the_nearer_one() -> None:
    machine = Machine(lambda requests: 1.3 if requests < 8 else 0.8)
    for requests in (1, 16):
        machine.run(requests, 200)
    assert machine.worth.drafts(3)
    assert not machine.worth.drafts(5)


def test_a_size_between_two_others_is_not_tried_at_once() -> None:
    machine = Machine(lambda requests: 1.3 if requests < 8 else 0.8)
    for requests in (4, 16):
        machine.run(requests, 200)
    before = machine.worth.tried
    machine.run(12, 50)
    assert machine.worth.tried == before


def test_easy_texts_of_few_requests_say_nothing_of_many() -> None:
    machine = Machine(lambda _: 0.95)
    machine.run(16, 200)
    for _ in range(200):
        machine.worth.took(1, True, 1.0, 4)
    machine.run(16, 100)
    assert [change.drafted for change in machine.changes] == [False]


def test_each_size_goes_its_own_way() -> None:
    machine = Machine(lambda requests: 1.3 if requests < 8 else 0.8)
    for _ in range(20):
        for requests in (16, 8, 4, 1):
            machine.run(requests, 50)
    assert machine.worth.undrafted_from == 8


def test_drafts_that_begin_to_pay_are_taken_up_again() -> None:
    machine = Machine(lambda _: 0.8)
    machine.run(16, 1000)
    machine.gain = lambda _: 1.5
    machine.run(16, 5000)
    assert [change.drafted for change in machine.changes] == [False, True]


def test_drafts_that_pay_no_more_are_given_up() -> None:
    machine = Machine(lambda _: 1.5)
    machine.run(4, 1000)
    machine.gain = lambda _: 0.8
    machine.run(4, 1000)
    assert [change.drafted for change in machine.changes] == [False]


def test_a_few_slow_steps_change_nothing() -> None:
    machine = Machine(lambda _: 1.3)
    machine.run(4, 500)
    machine.gain = lambda _: 0.01
    machine.run(4, 3)
    machine.gain = lambda _: 1.3
    machine.run(4, 500)
    assert machine.changes == []


def test_a_machine_that_slows_down_changes_nothing() -> None:
    machine = Machine(lambda _: 0.8)
    machine.run(16, 200)
    for _ in range(50):
        machine.worth.took(16, False, 3.0, 16)
    assert not machine.worth.drafts(16)


def test_sizes_that_share_figures_differ_by_an_eighth_at_most() -> None:
    assert [bucket(requests) for requests in range(1, 16)] == list(range(1, 16))
    assert all(bucket(n) <= n < bucket(n) * 9 / 8 for n in range(1, 2000))
