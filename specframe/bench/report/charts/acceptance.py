"""How deep the target follows the draft."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from specframe.bench.report.charts.canvas import height_for, label_line_ends, panels
from specframe.bench.report.charts.theme import Theme, wrapped
from specframe.bench.report.path_ends import PathEnds


def draw(
    ends: Mapping[str, PathEnds], tau: Mapping[str, float | None], colours: Mapping[str, str], theme: Theme
) -> Figure:
    """Draw a line per configuration: the share of target passes that accepted a token at each depth."""
    labels = {label: wrapped(f"{label}  tau {tau[label]:.2f}", 34) for label in ends}
    figure, (axes,) = panels(
        1,
        panel=(4.6, height_for(list(labels.values()), 3.1)),
        headline="Acceptance by depth",
        explained="Share of target passes that accepted a drafted token at this depth of the tree",
        theme=theme,
        right=3.0,
    )
    deepest = max(len(one.accepted_by_depth) for one in ends.values())
    line_ends = []
    for label, one in ends.items():
        shares = [one.share(count) for count in one.accepted_by_depth]
        if not shares:
            continue
        axes.plot(
            range(1, len(shares) + 1),
            shares,
            "-o",
            color=colours[label],
            lw=2.2,
            ms=5.5,
            mec=theme.ground,
            mew=0.8,
        )
        line_ends.append((shares[-1], labels[label], colours[label]))
    axes.set_xlim(0.85, deepest + 0.08)
    axes.set_xticks(range(1, deepest + 1))
    axes.set_xlabel("depth in the draft tree")
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="y")
    label_line_ends(axes, line_ends)
    return figure
