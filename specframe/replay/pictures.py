"""The picture of a replay: coverage against active size with its Pareto front, and coverage by step."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from specframe.bench.report.charts.canvas import label_line_ends, label_points, panels
from specframe.bench.report.charts.theme import LIGHT, Theme, colours, wrapped
from specframe.contracts.records import write_whole
from specframe.replay.scores import StrategyScores, pareto_front
from specframe.replay.trace import TraceHeader

# Lines that can be told apart; the Pareto front comes first.
_LINES = 6
_STEPS_PER_POINT = 8


def write_picture(path: Path, scores: Sequence[StrategyScores], header: TraceHeader) -> None:
    """Write the picture as PNG.

    Args:
        path: of the file; it is replaced as a whole.
        scores: of the strategies that were replayed.
        header: of their trace.

    Raises:
        SpecframeError: the file cannot be written.
    """
    image = io.BytesIO()
    with rc_context(LIGHT.settings):
        draw(scores, header, LIGHT).savefig(image, dpi=110, format="png")
    write_whole(path, image.getvalue())


def draw(scores: Sequence[StrategyScores], header: TraceHeader, theme: Theme) -> Figure:
    """Return the figure."""
    figure, (front_axes, step_axes) = panels(
        2,
        panel=(6.4, 4.2),
        headline=f"Coverage of the active vocabulary, {header.model}",
        explained=f"Replay of a {header.strategy} trace; V = {header.vocab_size:,}. Dotted: the Pareto front",
        theme=theme,
        titles=("Coverage against size", f"Coverage by step, {_STEPS_PER_POINT} target passes per point"),
        gap=0.75,
        right=2.6,
    )
    paint = _paint([one.strategy for one in scores], theme)
    front = pareto_front([(one.overall.active_mean, one.overall.coverage) for one in scores])
    _draw_front(front_axes, scores, front, paint, theme)
    others = [index for index in range(len(scores)) if index not in front]
    lines = sorted([*reversed(front), *others][:_LINES])
    _draw_steps(step_axes, [scores[index] for index in lines], paint)
    return figure


def _paint(labels: list[str], theme: Theme) -> dict[str, str]:
    """Return the colours of all charts, or others where those would be used twice."""
    paint = colours(labels, theme)
    if len(set(paint.values())) == len(labels):
        return paint
    return {label: to_hex(colormaps["tab20"](index % 20)) for index, label in enumerate(labels)}


def _draw_front(
    axes: Axes, scores: Sequence[StrategyScores], front: list[int], paint: dict[str, str], theme: Theme
) -> None:
    points = [(one.overall.active_mean, one.overall.coverage) for one in scores]
    axes.step(
        [points[index][0] for index in front],
        [points[index][1] for index in front],
        where="post",
        color=theme.muted,
        lw=1.2,
        ls=":",
        zorder=1,
    )
    for (size, coverage), one in zip(points, scores, strict=True):
        axes.plot(size, coverage, "o", ms=9, color=paint[one.strategy], mec=theme.ground, mew=1.2)
    axes.set_xscale("log")
    axes.margins(x=0.18)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("active tokens, mean over target passes")
    axes.set_ylim(min(coverage for _, coverage in points) - 0.04, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid()
    label_points(
        axes,
        [
            (*points[index], wrapped(scores[index].strategy), paint[scores[index].strategy])
            for index in [*front, *(i for i in range(len(scores)) if i not in front)]
        ],
    )


def _draw_steps(axes: Axes, scores: Sequence[StrategyScores], paint: dict[str, str]) -> None:
    ends = []
    for one in scores:
        # Later on too few requests are left for a mean.
        values = one.coverage_by_step[: one.half_way]
        parts = [values[at : at + _STEPS_PER_POINT] for at in range(0, len(values), _STEPS_PER_POINT)]
        means = [sum(part) / len(part) for part in parts]
        middles = [index * _STEPS_PER_POINT + len(part) / 2 for index, part in enumerate(parts)]
        axes.plot(middles, means, color=paint[one.strategy], lw=1.8, marker="o", ms=3)
        ends.append((means[-1], wrapped(one.strategy), paint[one.strategy]))
    axes.set_xlabel("target pass of the request")
    axes.tick_params(labelleft=True)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.set_ylim(top=1.01)
    axes.grid()
    label_line_ends(axes, ends)
