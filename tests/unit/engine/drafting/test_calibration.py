"""What is kept of a drafter's promises, by depth and confidence."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specframe.engine.drafting.calibration import Calibration

PROMISE, DEPTH = st.floats(0, 1), st.integers(1, 40)


def told(depth: int, promised: float, kept: float, passes: int = 300, seed: int = 0) -> Calibration:
    """Return what learnt of one node per pass that is accepted with a probability."""
    source, calibration = random.Random(seed), Calibration()
    for _ in range(passes):
        calibration.learn([(depth, promised, source.random() < kept)])
    return calibration


@pytest.mark.parametrize(("promised", "kept"), [(0.9, 0.45), (0.9, 0.9), (0.4, 0.1), (0.2, 0.6)])
def test_what_was_kept_counts_and_not_what_was_promised(promised: float, kept: float) -> None:
    assert told(1, promised, kept)(1, promised) == pytest.approx(kept, abs=0.12)


def test_other_depths_are_not_touched() -> None:
    assert told(1, 0.9, 0.0)(3, 0.9) == Calibration()(3, 0.9)


def test_other_confidences_are_not_touched() -> None:
    assert told(1, 0.9, 0.0)(1, 0.2) == Calibration()(1, 0.2)


def test_all_depths_beyond_the_last_are_one() -> None:
    assert told(9, 0.9, 0.1)(30, 0.9) == told(9, 0.9, 0.1)(9, 0.9)


@given(st.lists(st.tuples(DEPTH, PROMISE, st.booleans()), max_size=60), DEPTH, PROMISE)
def test_it_is_a_probability_whatever_was_learnt(
    nodes: list[tuple[int, float, bool]], depth: int, promised: float
) -> None:
    calibration = Calibration()
    for node in nodes:
        calibration.learn([node])
    assert 0 <= calibration(depth, promised) <= 1


@given(st.lists(st.tuples(DEPTH, PROMISE, st.booleans()), max_size=60), DEPTH)
def test_of_two_promises_of_one_confidence_the_higher_is_likelier(
    nodes: list[tuple[int, float, bool]], depth: int
) -> None:
    calibration = Calibration()
    calibration.learn(nodes)
    assert calibration(depth, 0.35) <= calibration(depth, 0.55)


def test_a_few_surprises_do_not_turn_it_over() -> None:
    calibration = Calibration()
    before = calibration(1, 0.8)
    calibration.learn([(1, 0.8, False)])
    assert before > calibration(1, 0.8) > 0.5 * before


def test_a_text_that_changes_is_followed() -> None:
    calibration = told(1, 0.9, 0.0)
    assert calibration(1, 0.9) < 0.1
    for _ in range(150):
        calibration.learn([(1, 0.9, True)])
    assert calibration(1, 0.9) > 0.8


def test_without_news_it_goes_back_to_what_it_started_from() -> None:
    calibration, start = told(1, 0.9, 0.0), Calibration()(1, 0.9)
    for _ in range(400):
        calibration.learn([])
    assert calibration(1, 0.9) == pytest.approx(start, rel=0.05)
