"""Declares the strategy ``nanospec+lowrank``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option, same_option
from specframe.registry.components import Component
from specframe_plugins.vocabularies.components.lowrank import LowRankOptions
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions


@attrs.frozen(slots=True)
class NanospecLowRankOptions:
    """Options of ``nanospec+lowrank``."""

    rank: int = same_option(LowRankOptions, "rank", default=32)
    candidates: int = same_option(LowRankOptions, "candidates", default=128)
    rows: int | None = same_option(LowRankOptions, "rows")
    capacity: int = option(
        1024,
        help="slots of the packed head, at most the vocabulary",
        unit="tokens",
        minimum=1,
        tune=(192, 256, 384, 512, 1024),
    )
    harvest_topk: int = same_option(NanospecOptions, "harvest_topk")
    prompt_window: int | None = same_option(NanospecOptions, "prompt_window")


COMPONENT = Component(
    name="nanospec+lowrank",
    summary="the context and the target's own top tokens, and candidates of a low-rank estimate",
    options=NanospecLowRankOptions,
    factory="specframe_plugins.vocabularies.nanospec_lowrank:build",
)
