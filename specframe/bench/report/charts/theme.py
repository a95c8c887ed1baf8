"""Colours and type of all charts, on light and on dark ground."""

from __future__ import annotations

import colorsys
import textwrap
from collections.abc import Sequence
from typing import Any

import attrs

from specframe.bench.configurations import PEERS
from specframe.config import AUTOREGRESSIVE, COMPARED

_FIXED = {
    AUTOREGRESSIVE: "#8b949e",
    **dict(zip(PEERS, ("#9c7a5b", "#8a63b8"), strict=True)),
    **dict(zip(COMPARED, ("#3f7fd0", "#d98a00", "#12a06b"), strict=True)),
}
_OTHERS = ("#c2528b", "#2a9fb5", "#9a8f1c", "#6a6fd1", "#b5602f", "#5a9a3c")
_SHADES = (0.0, 0.13, -0.12, 0.22, 0.06, -0.06)  # away from the ground, of a strategy's further variants
_HUE_TURN = 0.09  # once all shades are used, as a share of the colour circle

# What pruning is about is warm, the rest is cool.
PART_COLOURS = {
    "backbone": "#5b7493",
    "head": "#e2533a",
    "tree": "#8fa9c4",
    "vocabulary + gather": "#f2a54a",
    "rest": "#b9c4cf",
    "target pass": "#6f8196",
    "draft": "#e2533a",
    "prefill": "#cfd6dd",
    "not split": "#9c7a5b",
}
OOV_COLOUR = "#d8433b"
MISS_COLOUR = "#9fb0c0"


@attrs.frozen(slots=True)
class Theme:
    """Colours that depend on the ground.

    Attributes:
        name: ``light`` or ``dark``.
        ground: behind everything.
        ink: text.
        muted: secondary text and axes.
        grid: grid lines.
    """

    name: str
    ground: str
    ink: str
    muted: str
    grid: str

    @property
    def settings(self) -> dict[Any, Any]:
        """The settings for ``matplotlib.rc_context``."""
        return {
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "text.color": self.ink,
            "figure.facecolor": self.ground,
            "savefig.facecolor": self.ground,
            "axes.facecolor": self.ground,
            "axes.edgecolor": self.muted,
            "axes.labelcolor": self.muted,
            "axes.labelsize": 10,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlecolor": self.ink,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.8,
            "axes.axisbelow": True,
            "grid.color": self.grid,
            "grid.linewidth": 0.8,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "xtick.labelsize": 9.5,
            "ytick.labelsize": 9.5,
            "ytick.labelcolor": self.ink,
            "ytick.major.size": 0,
            "xtick.major.size": 3,
            "svg.fonttype": "none",
        }


LIGHT = Theme("light", ground="#ffffff", ink="#1c2128", muted="#636c76", grid="#e6e9ed")
DARK = Theme("dark", ground="#161b22", ink="#e6edf3", muted="#9198a1", grid="#2b323b")


def colours(configurations: Sequence[str], theme: Theme) -> dict[str, str]:
    """Return one colour per configuration: by strategy, and a shade for each further variant of it."""
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    strangers: list[str] = []
    away = 1 if theme is DARK else -1
    for label in configurations:
        strategy = label.partition(":")[0]
        if strategy not in _FIXED and strategy not in strangers:
            strangers.append(strategy)
        base = _FIXED.get(strategy) or _OTHERS[strangers.index(strategy) % len(_OTHERS)]
        variant = seen[strategy] = seen.get(strategy, -1) + 1
        turn, shade = divmod(variant, len(_SHADES))
        found[label] = _shade(base, away * _SHADES[shade], _HUE_TURN * turn)
    return found


def wrapped(label: str, width: int = 26) -> str:
    """Return a label broken after commas and colons, so that options do not run over their neighbours."""
    if len(label) <= width:
        return label
    spaced = label.replace(",", ",\u200b ").replace(":", ":\u200b ", 1)
    lines = textwrap.wrap(spaced, width, break_long_words=True, break_on_hyphens=False)
    return "\n".join(line.replace("\u200b ", "").replace("\u200b", "") for line in lines)


def _shade(colour: str, lighter: float, turn: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    shaded = colorsys.hls_to_rgb((hue + turn) % 1.0, min(max(light + lighter, 0.15), 0.85), saturation)
    return "#" + "".join(f"{round(channel * 255):02x}" for channel in shaded)
