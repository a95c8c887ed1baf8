"""How large the active set is as a request goes on."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from specframe.bench.report.active_sizes import ActiveSizes
from specframe.bench.report.charts.canvas import height_for, label_line_ends, panels
from specframe.bench.report.charts.theme import Theme, wrapped


def draw(sizes: Mapping[str, ActiveSizes], colours: Mapping[str, str], theme: Theme) -> Figure:
    """Draw a line per configuration: the median over prompts, and the middle half of them as a band."""
    labels = {
        label: wrapped(f"{label}  {one.median[-1]:,.0f}", 34) for label, one in sizes.items() if one.median
    }
    figure, (axes,) = panels(
        1,
        panel=(4.6, height_for(list(labels.values()), 3.1)),
        headline="Active vocabulary over a request",
        explained="Tokens the drafter may propose. Line: median over prompts; band: middle half of them",
        theme=theme,
        left=0.85,
        right=3.0,
    )
    line_ends = []
    for label, one in sizes.items():
        if not one.median:
            continue
        steps = range(1, len(one.median) + 1)
        axes.fill_between(steps, one.lower, one.upper, color=colours[label], alpha=0.2, lw=0)
        axes.plot(steps, one.median, color=colours[label], lw=2.2)
        line_ends.append((one.median[-1], labels[label], colours[label]))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlim(1, max(len(one.median) for one in sizes.values()))
    axes.set_xlabel("target pass")
    axes.set_ylabel("active tokens")
    axes.grid(axis="y")
    label_line_ends(axes, line_ends)
    return figure
