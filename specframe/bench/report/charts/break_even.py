"""From which vocabulary size pruning pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from specframe.bench.report.break_even import BreakEven
from specframe.bench.report.charts.canvas import height_for, label_line_ends, label_points, note, panels
from specframe.bench.report.charts.theme import Theme, wrapped

_SIZES = (4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144)


def draw(found: Sequence[BreakEven], colours: Mapping[str, str], theme: Theme) -> Figure:
    """Draw the predicted speed against full over the vocabulary size, with this run's point on each line."""
    vocab_size = found[0].vocab_size
    labels = [wrapped(one.configuration, 34) for one in found]
    figure, (axes,) = panels(
        1,
        panel=(4.9, height_for(labels, 3.3)),
        headline="From which vocabulary size pruning pays here",
        explained="Lines: from this run's costs, with a vocabulary of another size. Dots: measured",
        theme=theme,
        right=3.0,
    )
    sizes = np.geomspace(_SIZES[0] / 2, _SIZES[-1], 200)
    axes.axhline(1.0, color=theme.muted, lw=1.1)
    line_ends, crossings = [], []
    for one, label in zip(found, labels, strict=True):
        colour = colours[one.configuration]
        inside = sizes[sizes >= one.active]
        ratios = [one.costs.ratio(size, one.retention.value) for size in inside]
        axes.plot(inside, ratios, color=colour, lw=2.2)
        if one.measured.low is not None and one.measured.high is not None:
            ends = [one.measured.low, one.measured.high]
            axes.plot([vocab_size] * 2, ends, color=colour, lw=7, alpha=0.35, solid_capstyle="butt")
        axes.plot(vocab_size, one.measured.value, "o", ms=6.5, color=colour, mec=theme.ground, mew=1)
        line_ends.append((ratios[-1], label, colour))
        least = one.least_vocabulary
        if sizes[0] < least < sizes[-1] and least > one.active:
            axes.plot(least, 1.0, "|", ms=12, mew=2.4, color=colour)
            crossings.append((least, 1.0, f"{least:,.0f}", colour))
    axes.axvline(vocab_size, color=theme.grid, lw=1.2, zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_xlim(sizes[0], sizes[-1])
    axes.set_xticks(_SIZES)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1024:.0f}k"))
    axes.set_xlabel("vocabulary size, tokens")
    axes.set_ylabel("speed against full")
    axes.grid(axis="y")
    note(
        axes,
        f"this run: {vocab_size:,}",
        (vocab_size, 1.0),
        (0, 3),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="baseline",
        size=9,
        color=theme.muted,
    )
    label_line_ends(axes, line_ends)
    label_points(axes, crossings, radius=2.0, least=10.0)
    return figure
