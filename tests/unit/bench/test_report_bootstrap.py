from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specframe.bench.report.bootstrap import FEWEST_PROMPTS, geometric_mean, t_quantile

RATIOS = st.lists(st.floats(0.2, 5.0), min_size=FEWEST_PROMPTS, max_size=12)


def coverage(samples: int, prompts: int, spread: float) -> float:
    """Return how often the interval holds the ratio that log-normal samples were drawn around."""
    rng = np.random.default_rng(7)
    drawn = np.exp(rng.normal(math.log(1.2), spread, (samples, prompts)))
    found = [geometric_mean(ratios.tolist(), resamples=2000) for ratios in drawn]
    return sum(one.low <= 1.2 <= one.high for one in found if one.low and one.high) / samples


def test_twice_as_fast_and_half_as_fast_cancel() -> None:
    assert geometric_mean([2.0, 0.5]).value == pytest.approx(1.0)


def test_a_few_prompts_have_no_interval() -> None:
    few = geometric_mean([1.1] * (FEWEST_PROMPTS - 1))
    assert (few.low, few.high, few.count) == (None, None, FEWEST_PROMPTS - 1)


def test_equal_ratios_have_an_interval_without_width() -> None:
    one = geometric_mean([1.25] * 8)
    assert (one.low, one.high) == (pytest.approx(1.25), pytest.approx(1.25))


def test_the_interval_does_not_change_from_call_to_call() -> None:
    ratios = [1.0, 1.1, 1.3, 0.9, 1.2, 1.05]
    assert geometric_mean(ratios) == geometric_mean(ratios)
    assert geometric_mean(ratios) != geometric_mean(ratios, seed=1)


@given(RATIOS)
def test_the_inverse_ratios_have_the_inverse_mean(ratios: list[float]) -> None:
    inverse = geometric_mean([1 / ratio for ratio in ratios], resamples=50)
    assert inverse.value == pytest.approx(1 / geometric_mean(ratios, resamples=50).value)


@given(RATIOS)
def test_the_interval_stays_within_the_sample(ratios: list[float]) -> None:
    one = geometric_mean(ratios, resamples=200)
    assert one.low is not None
    assert one.high is not None
    assert min(ratios) * 0.999 <= one.low <= one.high <= max(ratios) * 1.001


@pytest.mark.parametrize(("prompts", "least"), [(FEWEST_PROMPTS, 0.88), (10, 0.91), (40, 0.92)])
def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says(prompts: int, least: float) -> None:
    # 95 % is stated; 600 samples have a standard error of 0.9 %.
    assert least <= coverage(600, prompts, spread=0.2) <= 0.98


@pytest.mark.parametrize("bad", [[], [1.0, 0.0], [-1.0]])
def test_no_ratio_or_one_that_is_not_positive_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one ratio, and positive ones"):
        geometric_mean(bad)


@pytest.mark.parametrize(("degrees", "quantile"), [(4, 2.7764), (9, 2.2622), (20, 2.0860), (100, 1.9840)])
def test_quantiles_of_t_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(quantile, rel=0.01)
