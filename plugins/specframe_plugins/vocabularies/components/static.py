"""Declares the strategy ``static``."""

from __future__ import annotations

from pathlib import Path

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe.vocabulary.token_maps.sizes import parse_size
from specframe_plugins.vocabularies.components.maps import MAP_HELP

AUTO, UNMEASURED = "auto", 32768


def parse_size_or_auto(size: str) -> int | float | None:
    """Return what ``parse_size`` does, and None for ``auto``."""
    return None if size == AUTO else parse_size(size, f", or {AUTO}")


@attrs.frozen(slots=True)
class StaticOptions:
    """Options of ``static``."""

    size: str = option(
        "32768",
        help="active tokens, at most the vocabulary; with a point, for example 0.99: as many as cover that "
        f"share of the counted tokens; auto: what the measured costs favour, or {UNMEASURED} without them, "
        "and all of a map without counts",
        unit="tokens or share",
        tune=("512", "1024", "2048", "4096", "8192", "16384", "32768"),
    )
    frequencies: Path | None = option(
        None, help=f"a map of tokens, {MAP_HELP}; none for the frequencies shipped with specframe"
    )
    text: Path | None = option(None, help="text to count token frequencies in, with the target's tokenizer")

    def __attrs_post_init__(self) -> None:
        parse_size_or_auto(self.size)


COMPONENT = Component(
    name="static",
    summary="the most frequent tokens, the same for every request (FR-Spec)",
    options=StaticOptions,
    factory="specframe_plugins.vocabularies.static:build",
    diagnose="specframe_plugins.vocabularies.static:diagnose",
)
