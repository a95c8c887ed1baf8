"""Why drafts are rejected: because pruning hid the token, or because the drafter did not think of it."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MultipleLocator, PercentFormatter

from specframe.bench.report.charts.canvas import PLAIN_LEGEND, colour_title, note, panels, task_axis
from specframe.bench.report.charts.theme import MISS_COLOUR, OOV_COLOUR, Theme, wrapped
from specframe.bench.report.path_ends import PathEnds

_EXPLAINED = "Share of target passes. OOV: the target's token was not in the active set, the price of pruning"


def draw_by_task(
    ends: Mapping[str, Mapping[str, PathEnds]], colours: Mapping[str, str], theme: Theme
) -> Figure:
    """Draw a panel per configuration and a bar per task.

    Args:
        ends: by configuration, then by task with ``overall`` first.
        colours: by configuration.
        theme: colours.
    """
    tasks = list(next(iter(ends.values())))
    figure, axes = panels(
        len(ends),
        titles=[wrapped(label, 27) for label in ends],
        panel=(2.35, 0.29 * len(tasks) + 0.15),
        headline="Why drafts are rejected, by task",
        explained=_EXPLAINED,
        theme=theme,
        left=1.85,
        minimum_width=9.5,
    )
    widest = (
        max(one.share(one.oov + one.misses) for by_task in ends.values() for one in by_task.values()) or 1.0
    )
    for panel, (label, by_task) in zip(axes, ends.items(), strict=True):
        colour_title(panel, colours[label])
        for y, one in enumerate(by_task.values()):
            oov, misses = one.share(one.oov), one.share(one.misses)
            panel.barh(y, oov, height=0.62, color=OOV_COLOUR)
            panel.barh(y, misses, left=oov, height=0.62, color=MISS_COLOUR)
            note(panel, f"{oov:.0%}", (oov + misses, y), (4, 0), size=9, color=OOV_COLOUR, weight="bold")
        panel.set_xlim(0, widest * 1.25)
        task_axis(panel, tasks, theme)
        panel.xaxis.set_major_locator(MultipleLocator(0.2 if widest < 0.7 else 0.5))
        panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _legend(figure, theme)
    return figure


def draw_by_depth(ends: Mapping[str, PathEnds], colours: Mapping[str, str], theme: Theme) -> Figure:
    """Draw a panel per configuration and a bar per depth at which paths were rejected."""
    deepest = max(len(one.accepted_by_depth) for one in ends.values())
    figure, axes = panels(
        len(ends),
        titles=[wrapped(label, 27) for label in ends],
        panel=(2.35, 1.9),
        headline="Why drafts are rejected, by depth in the tree",
        explained=_EXPLAINED,
        theme=theme,
        minimum_width=9.5,
    )
    highest = max(
        one.share(oov + miss)
        for one in ends.values()
        for oov, miss in zip(one.oov_by_depth, one.misses_by_depth, strict=True)
    )
    for panel, (label, one) in zip(axes, ends.items(), strict=True):
        colour_title(panel, colours[label])
        for depth, (oov_count, miss_count) in enumerate(
            zip(one.oov_by_depth, one.misses_by_depth, strict=True), 1
        ):
            oov, misses = one.share(oov_count), one.share(miss_count)
            panel.bar(depth, oov, width=0.66, color=OOV_COLOUR)
            panel.bar(depth, misses, bottom=oov, width=0.66, color=MISS_COLOUR)
            share = f"{oov:.1%}" if 0 < oov < 0.1 else f"{oov:.0%}"
            above = {"ha": "center", "va": "baseline", "color": OOV_COLOUR, "weight": "bold"}
            note(panel, share, (depth, oov + misses), (0, 3), size=8.5, **above)
        panel.set_xlim(0.4, deepest + 0.6)
        panel.set_ylim(0, (highest or 1.0) * 1.15)
        panel.set_xticks(range(1, deepest + 1))
        panel.set_xlabel("depth")
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.grid(axis="y")
    _legend(figure, theme)
    return figure


def _legend(figure: Figure, theme: Theme) -> None:
    width, height = figure.get_size_inches()
    figure.legend(
        handles=[
            Patch(color=OOV_COLOUR, label="OOV rejection"),
            Patch(color=MISS_COLOUR, label="drafter miss"),
        ],
        loc="upper right",
        bbox_to_anchor=(1 - 0.16 / width, 1 - 0.1 / height),
        ncols=2,
        fontsize=9.5,
        columnspacing=1.2,
        **PLAIN_LEGEND,
    )
