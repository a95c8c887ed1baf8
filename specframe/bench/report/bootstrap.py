"""Geometric means of paired ratios, with bootstrap intervals.

A ratio of two speeds is averaged on the logarithmic scale: a prompt that is twice as fast and one that is
half as fast cancel, A against B is exactly the inverse of B against A, and a long answer counts as much as a
short one. The interval resamples prompts, which keeps the pairs together. A percentile interval is too narrow
for the handful of prompts that a task often has, since resamples vary less than samples do and since the
spread is estimated too; the *expanded* percentile interval (Hesterberg, What Teachers Should Know About the
Bootstrap, The American Statistician 69, 2015) widens its level so that it is right for normal data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import attrs
import numpy as np

FEWEST_PROMPTS = 5
CONFIDENCE = 0.95


@attrs.frozen(slots=True)
class Estimate:
    """A geometric mean and what the sample says about it.

    Attributes:
        value: the geometric mean.
        low: lower end of the interval; None with fewer than ``FEWEST_PROMPTS`` ratios.
        high: its upper end; None likewise.
        count: how many ratios there are.
    """

    value: float
    low: float | None
    high: float | None
    count: int


def geometric_mean(
    ratios: Sequence[float], *, resamples: int = 10_000, confidence: float = CONFIDENCE, seed: int = 0
) -> Estimate:
    """Return the geometric mean of positive ratios with its expanded percentile interval.

    Args:
        ratios: one per prompt, at least one.
        resamples: bootstrap resamples.
        confidence: of the interval.
        seed: of the resampling; the same ratios and seed give the same interval.

    Raises:
        ValueError: there is no ratio, or one is not positive.
    """
    if not ratios or min(ratios) <= 0:
        raise ValueError("a geometric mean needs at least one ratio, and positive ones")
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    n, mean = len(logs), logs.mean()
    if n < FEWEST_PROMPTS:
        return Estimate(float(np.exp(mean)), None, None, n)
    drawn = logs[np.random.default_rng(seed).integers(n, size=(resamples, n))].mean(axis=1)
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * t_quantile((1.0 + confidence) / 2.0, n - 1))
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Estimate(float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), n)


def t_quantile(probability: float, degrees: int) -> float:
    """Return a quantile of Student's t distribution, 3 degrees of freedom or more.

    By the expansion 26.7.5 of Abramowitz and Stegun, Handbook of Mathematical Functions; within 1 %.
    """
    z = NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / float(degrees**power) for power, term in enumerate(terms))
