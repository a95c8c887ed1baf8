"""Where the draft time goes, and what a token costs altogether."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from specframe.bench.report.charts.canvas import PLAIN_LEGEND, note, panel_inches, panels
from specframe.bench.report.charts.theme import PART_COLOURS, Theme, wrapped
from specframe.bench.report.times import TimeSplit


def draw(
    splits: Mapping[str, TimeSplit | None], seconds_per_token: Mapping[str, float], theme: Theme
) -> Figure:
    """Draw stacked bars: draft time per target pass on the left, all time per emitted token on the right.

    Args:
        splits: by configuration; None for a peer.
        seconds_per_token: by configuration, wall time.
        theme: colours.
    """
    labels = list(seconds_per_token)
    names = [wrapped(label, 24) for label in labels]
    lines = sum(max(1.0, 0.62 * (name.count("\n") + 1)) for name in names)
    figure, (left, right) = panels(
        2,
        titles=("draft time per target pass, ms", "time per emitted token, ms"),
        panel=(4.2, 0.42 * lines + 0.1),
        headline="Where the time goes",
        explained="Left: between two target passes, where pruning acts. Right: everything, per token",
        theme=theme,
        left=1.95,
        gap=0.55,
        right=0.6,
        bottom=0.95,
        minimum_width=10.5,
    )
    drafts: list[list[tuple[str, float]]] = []
    tokens: list[list[tuple[str, float]]] = []
    for label in labels:
        split = splits[label]
        if split is None:
            drafts.append([])
            tokens.append([("not split", seconds_per_token[label])])
            continue
        passes, new = split.passes or 1, split.new_tokens or 1
        drafting = split.head > 0
        drafts.append(
            [(name, spent / passes) for name, spent in split.draft_parts.items()] if drafting else []
        )
        tokens.append(
            [
                ("target pass", split.target / new),
                ("draft", split.draft / new),
                ("prefill", split.prefill / new),
            ]
        )
    _bars(left, drafts, theme)
    _bars(right, tokens, theme)
    left.set_yticks(range(len(labels)), names)
    for y, parts in enumerate(drafts):
        if not parts:
            text = "not split by the library" if splits[labels[y]] is None else "no draft"
            note(left, text, (0, y), (6, 0), color=theme.muted, size=9)
    return figure


def _bars(axes: Axes, bars: list[list[tuple[str, float]]], theme: Theme) -> None:
    longest = max((sum(size for _, size in parts) for parts in bars), default=0.0) or 1.0
    shown: dict[str, None] = {}
    for y, parts in enumerate(bars):
        start = 0.0
        for name, size in parts:
            axes.barh(
                y,
                1e3 * size,
                left=1e3 * start,
                height=0.66,
                color=PART_COLOURS[name],
                edgecolor=theme.ground,
                lw=0.8,
            )
            shown[name] = None
            if size > 0.075 * longest:
                axes.text(
                    1e3 * (start + size / 2),
                    y,
                    f"{1e3 * size:.1f}",
                    ha="center",
                    va="center",
                    size=8.5,
                    color=_ink_on(PART_COLOURS[name]),
                )
            start += size
        if parts:
            note(axes, f"{1e3 * start:.1f}", (1e3 * start, y), (4, 0), size=9.5, weight="bold")
    axes.set_xlim(0, 1e3 * longest * 1.1)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    handles = [axes.barh(0, 0, color=PART_COLOURS[name], label=name) for name in shown]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.42 / panel_inches(axes)[1]),
        ncols=len(shown),
        fontsize=9,
        columnspacing=1.0,
        **PLAIN_LEGEND,
    )


def _ink_on(colour: str) -> str:
    """Return black or white, whichever reads better on a colour."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#1c2128" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"
