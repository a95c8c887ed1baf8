"""Declares the strategy ``clusters``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option, same_option
from specframe.registry.components import Component
from specframe_plugins.vocabularies.components.lowrank import LowRankOptions


@attrs.frozen(slots=True)
class ClusterOptions:
    """Options of ``clusters``."""

    groups: int = option(
        16, help="groups whose rows are computed exactly", unit="groups", minimum=1, tune=(4, 8, 16, 32)
    )
    size: int = option(32, help="rows of a group", unit="rows", minimum=1, tune=(16, 32, 64, 128))
    rows: int | None = same_option(LowRankOptions, "rows")


COMPONENT = Component(
    name="clusters",
    summary="groups of similar rows of the LM head, the best of them for each hidden state",
    options=ClusterOptions,
    factory="specframe_plugins.vocabularies.clusters:build",
)
