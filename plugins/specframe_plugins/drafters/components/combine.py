"""Declares the drafter ``combine``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.drafters.components.graft import LEARNING, SOURCES, names_of
from specframe_plugins.drafters.components.lookup import LONGEST
from specframe_plugins.sources.options import NODES


@attrs.frozen(slots=True, kw_only=True)
class CombineOptions:
    """Options of the drafter ``combine``."""

    sources: str = option("suffix+token-recycling", help=f"what guesses: {', '.join(SOURCES)}, joined by +")
    length: int = option(LONGEST, help="longest path to draft", unit="tokens", minimum=1)
    nodes: int = option(NODES, help="most nodes of a tree, the root aside", minimum=1)

    def __attrs_post_init__(self) -> None:
        names_of(self.sources)


def learns(options: CombineOptions) -> bool:
    """Return whether one of the sources can be kept warm."""
    return bool(LEARNING.intersection(names_of(options.sources)))


COMPONENT = Component(
    name="combine",
    summary="no head: several of the drafters without one grow one tree",
    options=CombineOptions,
    factory="specframe_plugins.drafters.combine:create",
    learns=learns,
)
