"""How much faster a configuration is than a baseline, prompt by prompt."""

from __future__ import annotations

import attrs

from specframe.bench.report.bootstrap import Estimate, geometric_mean
from specframe.bench.report.run import OVERALL, Run


@attrs.frozen(slots=True)
class Comparison:
    """Tokens/s of a configuration against a baseline, on one task or overall.

    Attributes:
        configuration: whose speed is above the line.
        baseline: whose speed is below it.
        task: name, or ``overall``.
        ratio: geometric mean of the prompts' ratios.
        prompts: the ratio of every prompt.
    """

    configuration: str
    baseline: str
    task: str
    ratio: Estimate
    prompts: tuple[float, ...]


def compare(run: Run, baseline: str) -> list[Comparison]:
    """Return every other configuration against ``baseline``: overall first, then task by task.

    Overall is over the prompts of all tasks, each prompt counting once.
    """
    comparisons = []
    for configuration in run.configurations:
        if configuration == baseline:
            continue
        for task in (OVERALL, *run.tasks):
            prompts = speed_ratios(run, configuration, baseline, task)
            if prompts:
                ratio = geometric_mean(prompts)
                comparisons.append(Comparison(configuration, baseline, task, ratio, prompts))
    return comparisons


def speed_ratios(run: Run, configuration: str, baseline: str, task: str = OVERALL) -> tuple[float, ...]:
    """Return tokens/s of a configuration against a baseline, for every prompt on which both have a speed."""
    speeds = (
        (row.report.tokens_per_s, base.report.tokens_per_s)
        for row, base in run.pairs(configuration, baseline, task)
    )
    return tuple(ours / theirs for ours, theirs in speeds if ours and theirs)
