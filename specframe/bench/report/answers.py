"""The first lines of a report: does pruning pay here?"""

from __future__ import annotations

from typing import Literal

import attrs

from specframe.bench.report.analysis import Analysis
from specframe.bench.report.bootstrap import Estimate
from specframe.bench.report.run import OVERALL

Verdict = Literal["faster", "slower", "no clear difference", "too few prompts to say"]


@attrs.frozen(slots=True)
class Answer:
    """One configuration against what it should beat.

    Attributes:
        configuration: label.
        baseline: ``full`` for pruned configurations, else the autoregressive one.
        ratio: tokens/s against it, overall.
        verdict: what the interval says.
    """

    configuration: str
    baseline: str
    ratio: Estimate
    verdict: Verdict


def verdict(ratio: Estimate) -> Verdict:
    """Return what an interval says about a ratio of speeds."""
    if ratio.low is None or ratio.high is None:
        return "too few prompts to say"
    if ratio.low > 1.0:
        return "faster"
    return "slower" if ratio.high < 1.0 else "no clear difference"


def answers(analysis: Analysis) -> list[Answer]:
    """Return what can be said of every drafting configuration; full itself is compared with the baseline."""
    found = []
    for label in analysis.run.drafting:
        for baseline in reversed(analysis.run.baselines):
            ratio = overall(analysis, label, baseline)
            if ratio is not None:
                found.append(Answer(label, baseline, ratio, verdict(ratio)))
                break
    return found


def overall(analysis: Analysis, configuration: str, baseline: str) -> Estimate | None:
    """Return tokens/s of a configuration against a baseline, overall; None where it is not compared."""
    for one in analysis.comparisons.get(baseline, []):
        if one.configuration == configuration and one.task == OVERALL:
            return one.ratio
    return None
