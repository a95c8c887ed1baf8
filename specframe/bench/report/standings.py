"""How the configurations of a sweep did."""

from __future__ import annotations

import attrs

from specframe.bench.configurations import Configuration
from specframe.bench.report.bootstrap import Estimate, geometric_mean
from specframe.bench.report.ratios import speed_ratios
from specframe.bench.report.run import Run
from specframe.bench.report.times import TimeSplit, time_split
from specframe.bench.report.totals import Totals, totals


@attrs.frozen(slots=True)
class Standing:
    """How one configuration did.

    Attributes:
        configuration: what was run.
        round: the last one it was in, from 1.
        ratio: tokens/s against the first configuration on the same prompts.
        prompts: the ratio of every prompt.
        totals: of its rows.
        times: where their time went; None for a peer.
    """

    configuration: Configuration
    round: int
    ratio: Estimate
    prompts: tuple[float, ...]
    totals: Totals
    times: TimeSplit | None


def standing(configuration: Configuration, run: Run, first: str, last_round: int) -> Standing:
    """Return how a configuration did in all rounds so far.

    Args:
        configuration: with at least one row.
        run: the rows of all rounds.
        first: label of the configuration to compare with, which has rows of the same prompts.
        last_round: of the configuration.
    """
    rows = run.of(configuration.label)
    prompts = speed_ratios(run, configuration.label, first)
    ratio = geometric_mean(prompts)
    return Standing(configuration, last_round, ratio, prompts, totals(rows), time_split(rows))
