"""A logarithmic axis of ratios around 1."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from specframe.bench.report.bootstrap import Estimate

_TICKS = (0.1, 0.2, 0.25, 0.33, *(n / 10 for n in range(5, 15)), 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)


def limits(ratios: Iterable[float]) -> tuple[float, float]:
    """Return where an axis begins and ends that shows all ratios, and 1."""
    values = [1.0, *ratios]
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.06, 1.03)
    return low / margin, high * margin


def ratio_axis(axes: Axes, low: float, high: float, *, right: float = 0.0) -> None:
    """Make the x axis one of ratios.

    Args:
        axes: any.
        low: where it begins.
        high: where it ends.
        right: room to leave beyond the end, as a share of the axis.
    """
    axes.set_xscale("log")
    axes.set_xlim(low, high * (high / low) ** right)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def interval_bar(axes: Axes, ratio: Estimate, y: float, colour: str) -> None:
    """Draw the interval of a ratio as a bar at ``y``, where there is one."""
    if ratio.low is not None and ratio.high is not None:
        axes.plot([ratio.low, ratio.high], [y, y], color=colour, lw=7, alpha=0.35, solid_capstyle="butt")


def _ticks(low: float, high: float) -> list[float]:
    """Return at most five round ratios within the limits, 1 among them."""
    inside = [tick for tick in _TICKS if low <= tick <= high]
    one = inside.index(1.0)
    step = -(-len(inside) // 5)
    return inside[one % step :: step]
