"""How much faster than a baseline, per task, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from specframe.bench.report.bootstrap import FEWEST_PROMPTS
from specframe.bench.report.charts.canvas import colour_title, panels
from specframe.bench.report.charts.theme import Theme, wrapped
from specframe.bench.report.ratios import Comparison

_TICKS = (
    0.1,
    0.2,
    0.25,
    0.33,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    1.0,
    1.1,
    1.2,
    1.3,
    1.4,
    1.6,
    1.8,
    2.0,
    2.5,
    3.0,
    4.0,
    6.0,
    8.0,
)


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
    low, high = _limits(comparisons)
    for panel, label in zip(axes, labels, strict=True):
        colour = colours[label]
        colour_title(panel, colour)
        panel.set_xscale("log")
        panel.set_xlim(low, high * (high / low) ** 0.22)
        panel.set_ylim(len(tasks) - 0.45, -0.6)
        panel.axhspan(-0.6, 0.5, color=theme.grid, alpha=0.55, lw=0)
        panel.axvline(1.0, color=theme.muted, lw=1.1)
        for one in comparisons:
            if one.configuration != label:
                continue
            y, ratio = tasks.index(one.task), one.ratio
            overall = y == 0
            if ratio.low is not None and ratio.high is not None:
                ends = [ratio.low, ratio.high]
                panel.plot(ends, [y, y], color=colour, lw=7, alpha=0.35, solid_capstyle="butt")
            if not overall:
                panel.plot(one.prompts, [y] * len(one.prompts), "o", ms=2.8, color=colour, alpha=0.5, mew=0)
            mark, size = ("D", 5.5) if overall else ("o", 6)
            panel.plot(ratio.value, y, mark, ms=size, color=colour, mec=theme.ground, mew=0.8)
            panel.annotate(
                f"{ratio.value:.2f}",
                (1.0, y),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                size=9.5,
                weight="bold" if overall else "normal",
                color=theme.ink,
            )
        panel.set_yticks(range(len(tasks)), tasks)
        for first in panel.get_yticklabels()[:1]:
            first.set_fontweight("bold")
        panel.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.spines["left"].set_visible(False)
        panel.grid(axis="x")
    return figure


def _limits(comparisons: Sequence[Comparison]) -> tuple[float, float]:
    values = [1.0]
    for one in comparisons:
        values += [*one.prompts, *filter(None, (one.ratio.low, one.ratio.high))]
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.06, 1.03)
    return low / margin, high * margin


def _ticks(low: float, high: float) -> list[float]:
    """Return at most five round ratios within the limits, 1 among them."""
    inside = [tick for tick in _TICKS if low <= tick <= high]
    one = inside.index(1.0)
    step = -(-len(inside) // 5)
    return inside[one % step :: step]
