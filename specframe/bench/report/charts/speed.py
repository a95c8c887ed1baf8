"""How much faster than a baseline, per task, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from specframe.bench.report.bootstrap import FEWEST_PROMPTS
from specframe.bench.report.charts.canvas import colour_title, note, panels, task_axis
from specframe.bench.report.charts.ratio_axis import interval_bar, limits, ratio_axis
from specframe.bench.report.charts.theme import Theme, wrapped
from specframe.bench.report.ratios import Comparison


def draw(comparisons: Sequence[Comparison], colours: Mapping[str, str], theme: Theme) -> Figure:
    """Draw a panel per configuration, a line per task; all panels share their axes."""
    labels = list(dict.fromkeys(one.configuration for one in comparisons))
    tasks = list(dict.fromkeys(one.task for one in comparisons))
    baseline = comparisons[0].baseline
    fewest = min(one.ratio.count for one in comparisons)
    interval = (
        "bars: 95% bootstrap interval"
        if fewest >= FEWEST_PROMPTS
        else f"bars: 95% bootstrap interval, where a task has {FEWEST_PROMPTS} prompts or more"
    )
    figure, axes = panels(
        len(labels),
        panel=(2.35, 0.29 * len(tasks) + 0.15),
        headline=f"Tokens per second against {baseline}",
        explained=f"{baseline} = 1. Geometric mean over prompts; {interval}; dots: single prompts",
        theme=theme,
        titles=[wrapped(label, 27) for label in labels],
        left=1.85,
        minimum_width=9.5,
    )
    low, high = limits(
        value
        for one in comparisons
        for value in (*one.prompts, *filter(None, (one.ratio.low, one.ratio.high)))
    )
    for panel, label in zip(axes, labels, strict=True):
        colour = colours[label]
        colour_title(panel, colour)
        ratio_axis(panel, low, high, right=0.22)
        task_axis(panel, tasks, theme)
        panel.axvline(1.0, color=theme.muted, lw=1.1)
        for one in comparisons:
            if one.configuration != label:
                continue
            y, ratio = tasks.index(one.task), one.ratio
            overall = y == 0
            interval_bar(panel, ratio, y, colour)
            if not overall:
                panel.plot(one.prompts, [y] * len(one.prompts), "o", ms=2.8, color=colour, alpha=0.5, mew=0)
            mark, size = ("D", 5.5) if overall else ("o", 6)
            panel.plot(ratio.value, y, mark, ms=size, color=colour, mec=theme.ground, mew=0.8)
            note(
                panel,
                f"{ratio.value:.2f}",
                (1.0, y),
                xycoords=("axes fraction", "data"),
                ha="right",
                size=9.5,
                weight="bold" if overall else "normal",
                color=theme.ink,
            )
    return figure
