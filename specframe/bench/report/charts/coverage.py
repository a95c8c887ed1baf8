"""What a larger active set buys in coverage."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from specframe.bench.report.charts.canvas import height_for, label_beside, label_points, panels
from specframe.bench.report.charts.theme import Theme, wrapped
from specframe.bench.report.run import OVERALL

_CROWD = 5  # more labels than this are not written between the points


def draw(
    points: Mapping[str, Mapping[str, tuple[float | None, float | None]]],
    colours: Mapping[str, str],
    theme: Theme,
) -> Figure:
    """Draw a large dot per configuration and a small one per task of it.

    Args:
        points: active size and coverage, by configuration and then by task or ``overall``.
        colours: by configuration.
        theme: colours.
    """
    texts = {
        label: f"{wrapped(label, 34)}\n{size:,.0f} tokens, {coverage:.1%}"
        for label, by_task in points.items()
        for size, coverage in [by_task[OVERALL]]
        if size is not None and coverage is not None
    }
    figure, (axes,) = panels(
        1,
        panel=(5.8, height_for(list(texts.values()), 3.3)),
        headline="Coverage against active vocabulary",
        explained="Emitted tokens that the drafter could have proposed. Small dots: single tasks",
        theme=theme,
        right=2.8,
    )
    lowest, labels, dots = 0.9, [], []
    for label, by_task in points.items():
        for task, (size, coverage) in by_task.items():
            if size is None or coverage is None:
                continue
            lowest = min(lowest, coverage)
            if task != OVERALL:
                axes.plot(size, coverage, "o", ms=4, color=colours[label], alpha=0.5, mew=0)
                dots.append((size, coverage))
                continue
            axes.plot(size, coverage, "o", ms=11, color=colours[label], mec=theme.ground, mew=1.2)
            labels.append((size, coverage, texts[label], colours[label]))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("active tokens, mean over target passes")
    axes.set_ylim(lowest - 0.04, 1.01)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid()
    if len(labels) > _CROWD:
        label_beside(axes, labels)
    else:
        label_points(axes, labels, avoid=dots)
    return figure
