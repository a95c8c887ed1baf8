"""Which charts a run has, with the names of their files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import attrs
import matplotlib as mpl
from matplotlib.figure import Figure

from specframe.bench.report.analysis import Analysis
from specframe.bench.report.charts import (
    acceptance,
    active_size,
    break_even,
    coverage,
    rejections,
    speed,
    sweep,
    time_split,
)
from specframe.bench.report.charts.theme import DARK, LIGHT, Theme, colours
from specframe.bench.report.ratios import Comparison
from specframe.bench.report.run import OVERALL
from specframe.bench.report.standings import Standing

_DPI = 160
_CSS_PIXELS = 96  # per inch


@attrs.frozen(slots=True)
class Images:
    """A chart as files.

    Attributes:
        name: of the file, without ending.
        description: what it shows, for readers who cannot see it.
        light: PNG for light ground.
        dark: PNG for dark ground.
        width: in CSS pixels, so that type is of one size in all charts.
        height: likewise.
    """

    name: str
    description: str
    light: bytes
    dark: bytes
    width: int
    height: int


@attrs.frozen(slots=True)
class Chart:
    """A chart that can be drawn.

    Attributes:
        name: of its file, without ending.
        description: what it shows, for readers who cannot see it.
        draw: returns the figure in a theme.
    """

    name: str
    description: str
    draw: Callable[[Theme], Figure]

    def images(self) -> Images:
        """Return the chart as PNG files for light and for dark ground."""
        light, dark = io.BytesIO(), io.BytesIO()
        for theme, file in ((LIGHT, light), (DARK, dark)):
            figure = self.render(theme)
            with mpl.rc_context(theme.settings):
                figure.savefig(file, dpi=_DPI, format="png")
        width, height = (round(inches * _CSS_PIXELS) for inches in figure.get_size_inches())
        return Images(self.name, self.description, light.getvalue(), dark.getvalue(), width, height)

    def render(self, theme: Theme) -> Figure:
        """Return the figure, drawn with the theme's settings."""
        with mpl.rc_context(theme.settings):
            return self.draw(theme)


def charts(analysis: Analysis) -> Iterator[Chart]:
    """Yield the charts that the run has data for, in the order of the page."""
    labels = analysis.run.configurations
    for baseline, comparisons in analysis.comparisons.items():
        if comparisons:
            yield Chart(
                f"speed-against-{baseline.partition(':')[0]}",
                f"Tokens per second against {baseline}, by configuration and task.",
                partial(_speed, comparisons, labels),
            )
    totals = {label: of[OVERALL] for label, of in analysis.totals.items()}
    seconds = {label: 1.0 / one.tokens_per_s for label, one in totals.items() if one.tokens_per_s}
    yield Chart(
        "time-split",
        "Draft time per target pass by part, and time per emitted token, by configuration.",
        lambda theme: time_split.draw(analysis.times, seconds, theme),
    )
    ends = analysis.path_ends
    if not ends:
        return
    tau = {label: totals[label].tau for label in ends}
    overall = {label: by_task[OVERALL] for label, by_task in ends.items()}
    yield Chart(
        "acceptance-by-depth",
        "Share of target passes that accepted a drafted token, by depth and configuration.",
        lambda theme: acceptance.draw(overall, tau, colours(labels, theme), theme),
    )
    yield Chart(
        "rejections-by-task",
        "OOV rejections and drafter misses as shares of target passes, by configuration and task.",
        lambda theme: rejections.draw_by_task(ends, colours(labels, theme), theme),
    )
    yield Chart(
        "rejections-by-depth",
        "OOV rejections and drafter misses as shares of target passes, by configuration and depth.",
        lambda theme: rejections.draw_by_depth(overall, colours(labels, theme), theme),
    )
    yield Chart(
        "active-size",
        "Active tokens over the target passes of a request, by configuration.",
        lambda theme: active_size.draw(analysis.active_sizes, colours(labels, theme), theme),
    )
    points = {
        label: {task: (one.active_mean, one.coverage) for task, one in analysis.totals[label].items()}
        for label in ends
    }
    yield Chart(
        "coverage-against-active-size",
        "Coverage against mean active size, by configuration.",
        lambda theme: coverage.draw(points, colours(labels, theme), theme),
    )
    if analysis.break_even:
        yield Chart(
            "break-even",
            "Predicted speed against full over the vocabulary size, by configuration.",
            lambda theme: break_even.draw(analysis.break_even, colours(labels, theme), theme),
        )


def sweep_chart(standings: Sequence[Standing], first: str) -> Chart:
    """Return the chart of a sweep, whose ratios are to the configuration ``first``."""
    return Chart(
        "sweep",
        f"Tokens per second of every configuration of the sweep against {first}.",
        lambda theme: sweep.draw(standings, first, theme),
    )


def _speed(comparisons: Sequence[Comparison], labels: Sequence[str], theme: Theme) -> Figure:
    return speed.draw(comparisons, colours(labels, theme), theme)
