"""Curves go through what was measured, never fall, and move towards what is seen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specframe.costs.curve import Curve

SECONDS = st.floats(0, 10, allow_nan=False)
MEASURED = st.dictionaries(st.integers(1, 64), SECONDS, min_size=1, max_size=8)
CURVES = MEASURED.map(Curve.of)


@given(CURVES, st.floats(0, 200), st.floats(0, 200))
def test_more_work_never_costs_less(curve: Curve, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert 0 <= curve(small) <= curve(large) + 1e-9


@given(st.dictionaries(st.integers(1, 64), SECONDS, min_size=1, max_size=8))
def test_it_goes_through_what_was_measured_and_above_what_says_that_more_costs_less(
    measured: dict[int, float],
) -> None:
    curve, highest = Curve.of(measured), 0.0
    for size, seconds in sorted(measured.items()):
        highest = max(highest, seconds)
        assert curve(size) == pytest.approx(highest)


def test_between_two_sizes_and_beyond_the_last_lies_a_straight_line() -> None:
    curve = Curve.of({2: 1.0, 4: 3.0, 8: 5.0})
    assert [curve(size) for size in (3, 6, 10)] == [2.0, 4.0, 6.0]


def test_no_size_costs_less_than_nothing() -> None:
    assert Curve.of({8: 1.0, 16: 10.0})(1) == 0.0


def test_one_point_counts_everywhere() -> None:
    assert {Curve.of({8: 2.0})(size) for size in (1, 8, 100)} == {2.0}


@given(CURVES, st.floats(0.01, 100), st.integers(1, 100))
def test_a_machine_that_is_slower_is_so_at_every_size(curve: Curve, factor: float, size: int) -> None:
    assert curve.scaled(factor)(size) == pytest.approx(factor * curve(size))


@given(CURVES, MEASURED, st.floats(0, 1))
def test_a_moved_curve_never_falls(curve: Curve, seen: dict[int, float], share: float) -> None:
    moved = curve.moved_towards(seen, share)
    assert list(moved.seconds) == sorted(moved.seconds)


@given(CURVES, SECONDS, st.integers(1, 64), st.floats(0, 1))
def test_a_curve_moves_the_share_of_the_way_at_the_size_that_was_seen(
    curve: Curve, seconds: float, size: int, share: float
) -> None:
    moved = curve.moved_towards({size: seconds}, share)
    assert moved(size) == pytest.approx(curve(size) + share * (seconds - curve(size)))


@given(CURVES, st.integers(1, 64), st.floats(0, 1))
def test_a_curve_that_keeps_to_what_is_seen_stays_as_it_is(curve: Curve, size: int, share: float) -> None:
    moved = curve.moved_towards({size: curve(size)}, share)
    for one in curve.sizes:
        assert moved(one) == pytest.approx(curve(one), abs=1e-9)


def test_sizes_that_were_not_seen_give_way_to_those_that_were() -> None:
    moved = Curve.of({1: 1.0, 4: 2.0, 8: 3.0}).moved_towards({4: 5.0}, 1.0)
    assert moved.seconds == (1.0, 5.0, 5.0)
    assert Curve.of({1: 1.0, 4: 2.0, 8: 3.0}).moved_towards({4: 0.5}, 1.0).seconds == (0.5, 0.5, 3.0)


@pytest.mark.parametrize(
    ("sizes", "seconds", "complaint"),
    [
        ((), (), "at least one"),
        ((1, 2), (1.0,), "as many sizes as seconds"),
        ((2, 1), (1.0, 2.0), "must rise"),
        ((1, 1), (1.0, 2.0), "must rise"),
        ((1,), (-1.0,), "0 to 1e"),
        ((1,), (math.nan,), "0 to 1e"),
        ((1,), (math.inf,), "0 to 1e"),
        ((-1, 1), (1.0, 1.0), "sizes of a curve must be 0 to"),
        ((1, 2), (2.0, 1.0), "must not fall"),
    ],
)
def test_what_is_no_curve_is_refused(
    sizes: tuple[int, ...], seconds: tuple[float, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Curve(sizes, seconds)
