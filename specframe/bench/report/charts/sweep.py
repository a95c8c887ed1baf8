"""All configurations of a sweep on one axis, the best on top."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from specframe.bench.report.charts.canvas import panels
from specframe.bench.report.charts.ratio_axis import interval_bar, limits, ratio_axis
from specframe.bench.report.charts.theme import Theme
from specframe.bench.report.standings import Standing

_LINE_INCHES = 0.27
_LETTER_INCHES = 0.078


def draw(standings: Sequence[Standing], first: str, theme: Theme) -> Figure:
    """Draw a line per configuration: its ratio to ``first``, the interval, and single prompts."""
    labels = [one.configuration.label for one in standings]
    last = max(one.round for one in standings)
    figure, (panel,) = panels(
        1,
        panel=(4.6, _LINE_INCHES * len(labels) + 0.2),
        headline=f"Tokens per second against {first}",
        explained="Geometric mean over prompts; bars: 95% bootstrap interval; dots: single prompts; "
        "grey: left out after an earlier round",
        theme=theme,
        left=0.3 + _LETTER_INCHES * max(map(len, labels)),
        minimum_width=9.5,
    )
    ratio_axis(panel, *limits(ratio for one in standings for ratio in one.prompts))
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.axvline(1.0, color=theme.muted, lw=1.1)
    for y, one in enumerate(standings):
        colour = "#12a06b" if one.round == last else theme.muted
        interval_bar(panel, one.ratio, y, colour)
        panel.plot(one.prompts, [y] * len(one.prompts), "o", ms=2.4, color=colour, alpha=0.4, mew=0)
        panel.plot(one.ratio.value, y, "D", ms=5, color=colour, mec=theme.ground, mew=0.8)
    panel.set_yticks(range(len(labels)), labels)
    panel.spines["left"].set_visible(False)
    panel.grid(axis="x")
    return figure
