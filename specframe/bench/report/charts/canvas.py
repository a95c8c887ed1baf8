"""Figures with a headline, and the marks that several charts share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from specframe.bench.report.charts.theme import Theme

# What legends of small squares in a row have in common.
PLAIN_LEGEND: dict[str, Any] = {
    "frameon": False,
    "handlelength": 0.9,
    "handleheight": 0.9,
    "handletextpad": 0.4,
    "borderpad": 0.0,
}

_HEADLINE_INCHES = 0.82
_TITLE_LINE_INCHES = 0.17
_LABEL_POINTS = 9.5

# Where a label may stand beside its point: points upwards, and on which side; the nearest first.
_PLACES = [
    (direction * distance, side) for distance in range(0, 200, 4) for direction in (-1, 1) for side in (1, -1)
]


def panels(
    count: int,
    *,
    panel: tuple[float, float],
    headline: str,
    explained: str,
    theme: Theme,
    titles: Sequence[str] = (),
    columns: int = 4,
    left: float = 0.75,
    right: float = 0.3,
    bottom: float = 0.6,
    gap: float = 0.3,
    minimum_width: float = 8.6,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of equal panels below a headline, row by row; sizes are inches.

    Args:
        count: panels.
        panel: width and height of one, without its labels.
        headline: what the chart shows.
        explained: one line on how to read it.
        theme: colours.
        titles: of the panels.
        columns: panels in a row, at most; rows are filled evenly.
        left: room for the labels of the first column.
        right: margin.
        bottom: room for the labels below a panel.
        gap: between columns.
        minimum_width: of the figure, so that the headline fits.
    """
    rows = math.ceil(count / columns)
    columns = math.ceil(count / rows)
    width = left + columns * panel[0] + (columns - 1) * gap + right
    panel_width = panel[0] + max(minimum_width - width, 0.0) / columns
    width = max(width, minimum_width)
    above = 0.1 + _TITLE_LINE_INCHES * max((title.count("\n") + 1 for title in titles), default=0)
    height = _HEADLINE_INCHES + rows * (above + panel[1] + bottom)
    figure = Figure(figsize=(width, height))
    figure.text(0.16 / width, 1 - 0.16 / height, headline, size=13.5, weight="bold", va="top")
    figure.text(0.16 / width, 1 - 0.45 / height, explained, size=9.5, color=theme.muted, va="top")
    found = []
    for index in range(count):
        row, column = divmod(index, columns)
        x = left + column * (panel_width + gap)
        y = height - _HEADLINE_INCHES - (row + 1) * (above + panel[1]) - row * bottom
        axes = figure.add_axes((x / width, y / height, panel_width / width, panel[1] / height))
        if titles:
            axes.set_title(titles[index])
        if column:
            axes.tick_params(labelleft=False)
        found.append(axes)
    return figure, found


def colour_title(axes: Axes, colour: str) -> None:
    """Give a panel's title the colour of what it shows."""
    axes.set_title(axes.get_title(loc="left"), color=colour)


def note(
    axes: Axes, text: str, at: tuple[float, float], away: tuple[float, float] = (0, 0), **style: Any
) -> None:
    """Write a word ``away`` points from a place, level with it unless ``va`` says otherwise."""
    axes.annotate(text, at, **{"xytext": away, "textcoords": "offset points", "va": "center", **style})


def task_axis(axes: Axes, tasks: Sequence[str], theme: Theme) -> None:
    """Make the y axis one of tasks, from the top down; the first is all of them together."""
    axes.set_ylim(len(tasks) - 0.45, -0.6)
    axes.axhspan(-0.6, 0.5, color=theme.grid, alpha=0.55, lw=0, zorder=0)
    axes.set_yticks(range(len(tasks)), tasks)
    for first in axes.get_yticklabels()[:1]:  # only the left panel of a row has labels
        first.set_fontweight("bold")
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def height_for(labels: Sequence[str], least: float) -> float:
    """Return the height of a panel beside which all labels have room, inches."""
    return max(least, sum(map(_line_inches, labels)))


def label_line_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write labels beside the right ends of lines, moved apart where they would overlap.

    Args:
        axes: finished, with its final limits.
        ends: for each line its last y, its label and its colour.
    """
    height = panel_inches(axes)[1]
    to_share = axes.transScale + axes.transLimits
    x = axes.get_xlim()[1]
    wanted = sorted((float(to_share.transform((x, y))[1]), label, colour) for y, label, colour in ends)
    places = _apart(
        [place for place, _, _ in wanted], [_line_inches(label) / height for _, label, _ in wanted]
    )
    for place, (_, label, colour) in zip(places, wanted, strict=True):
        note(
            axes,
            label,
            (1.0, place),
            (6, 0),
            xycoords="axes fraction",
            color=colour,
            size=_LABEL_POINTS,
            weight="bold",
            annotation_clip=False,
        )


def label_beside(axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Write the labels of a crowd of points beside the axes, each with a line to its point.

    Args:
        axes: finished, with its final limits.
        points: x, y, label and colour.
    """
    height = panel_inches(axes)[1]
    to_share = axes.transScale + axes.transLimits
    points = sorted(points, key=lambda point: point[1])
    sizes = [_line_inches(label) / height for _, _, label, _ in points]
    places = _apart([float(to_share.transform((x, y))[1]) for x, y, _, _ in points], sizes)
    for place, (x, y, label, colour) in zip(places, points, strict=True):
        axes.annotate(
            label,
            (x, y),
            xytext=(1.02, place),
            textcoords="axes fraction",
            va="center",
            color=colour,
            size=_LABEL_POINTS,
            weight="bold",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.9, "alpha": 0.5, "relpos": (0.0, 0.5)},
        )


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float, str, str]],
    *,
    avoid: Sequence[tuple[float, float]] = (),
    radius: float = 7.0,
    least: float = 0.0,
) -> None:
    """Write labels beside points, each as near as it hides no other label or point.

    Args:
        axes: finished, with its final limits and place on the figure.
        points: x, y, label and colour.
        avoid: x and y of small marks that labels should not hide either.
        radius: of the marks, points.
        least: how far above or below its point a label stands at least, points.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    FigureCanvasAgg(figure)
    scale = figure.dpi / 72
    marks = [axes.transData.transform((x, y)) for x, y, _, _ in points]
    taken = [Bbox.from_extents(*(mark - radius * scale), *(mark + radius * scale)) for mark in marks]
    dots = [axes.transData.transform(dot) for dot in avoid]
    small = [Bbox.from_extents(*(dot - 2 * scale), *(dot + 2 * scale)) for dot in dots]
    places = [place for place in _PLACES if abs(place[0]) >= least]
    free = Bbox.from_extents(axes.bbox.x0, axes.bbox.y0, figure.bbox.width, axes.bbox.y1)
    for x, y, label, colour in points:
        text = axes.annotate(
            label,
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            va="center",
            size=_LABEL_POINTS,
            weight="bold",
            color=colour,
            annotation_clip=False,
        )
        # Where there is no room beside all marks, small ones are covered.
        for avoided, (up, across) in itertools.product((taken + small, taken), places):
            text.set_horizontalalignment("left" if across > 0 else "right")
            text.set_position((across * (radius + 3), up))
            box = text.get_window_extent()
            inside = free.contains(box.x0, box.y0) and free.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in avoided):
                break
        taken.append(box)


def panel_inches(axes: Axes) -> tuple[float, float]:
    """Return width and height of a panel."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return axes.bbox.width / figure.dpi, axes.bbox.height / figure.dpi


def _line_inches(label: str) -> float:
    return _LABEL_POINTS * 1.3 / 72 * (label.count("\n") + 1)


def _apart(places: list[float], sizes: list[float]) -> list[float]:
    """Return ascending places moved apart so that things of these sizes do not overlap, from 0 to 1."""
    for _ in range(200):
        for one in range(len(places) - 1):
            overlap = (sizes[one] + sizes[one + 1]) / 2 - (places[one + 1] - places[one])
            if overlap > 0:
                places[one] -= overlap / 2
                places[one + 1] += overlap / 2
        if places:
            places[0] = max(places[0], sizes[0] / 2)
            places[-1] = min(places[-1], 1 - sizes[-1] / 2)
    return places
