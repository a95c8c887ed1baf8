"""Declares the strategy ``lowrank``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component

# How many of the likeliest rows are screened where nobody says (docs/strategies.md).
SCREENED_ROWS = 16_384


@attrs.frozen(slots=True)
class LowRankOptions:
    """Options of ``lowrank``."""

    rank: int = option(
        64, help="columns of the screen, at most H", unit="columns", minimum=1, tune=(16, 32, 64, 128)
    )
    candidates: int = option(
        256, help="rows computed exactly", unit="rows", minimum=1, tune=(64, 128, 256, 512)
    )
    rows: int | None = option(
        None,
        help=f"rows that are screened, the likeliest on built-in prompts; none: {SCREENED_ROWS} at most",
        unit="rows",
        minimum=1,
        tune=(4096, 8192, 16384, 32768),
    )


COMPONENT = Component(
    name="lowrank",
    summary="candidates of a low-rank estimate of all logits, for each hidden state",
    options=LowRankOptions,
    factory="specframe_plugins.vocabularies.lowrank:build",
)
