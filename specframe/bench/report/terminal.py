"""Ratios on a terminal."""

from __future__ import annotations

from specframe.bench.report.analysis import Analysis
from specframe.bench.report.answers import answers
from specframe.bench.report.bootstrap import Estimate
from specframe.bench.report.run import OVERALL
from specframe.ops.tables import print_table


def print_ratios(analysis: Analysis) -> None:
    """Print the ratios per task, and what they answer."""
    for baseline in analysis.run.baselines:
        headers, rows = ratios(analysis, baseline)
        if rows:
            print_table(rows, headers, title=f"tokens/s against {baseline}, with 95% intervals")
            print()
    for answer in answers(analysis):
        print(f"{answer.configuration} against {answer.baseline}: {answer.verdict}, {interval(answer.ratio)}")


def ratios(analysis: Analysis, baseline: str) -> tuple[list[str], list[list[str]]]:
    """Return headers and one row per task, ``overall`` first, of ratios against a baseline."""
    comparisons = analysis.comparisons[baseline]
    labels = list(dict.fromkeys(one.configuration for one in comparisons))
    found = {(one.task, one.configuration): one.ratio for one in comparisons}
    tasks = [OVERALL, *analysis.run.tasks] if comparisons else []
    return (
        ["task", *labels],
        [
            [task, *(interval(found[task, label]) if (task, label) in found else "" for label in labels)]
            for task in tasks
        ],
    )


def interval(ratio: Estimate) -> str:
    """Return a ratio with its interval, or with its number of prompts where there is none."""
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f} (n={ratio.count})"
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
