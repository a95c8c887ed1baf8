"""The drafter ``combine``: no head; several sources grow one tree.

Each source's guesses count by how often guesses like them were right in this request, so whoever is right
gets the places; measured costs cut the tree to what pays. Drafters with a head take the same sources by their
option ``graft``.
"""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import BuildContext, Component
from specframe_plugins.drafters.graft import LEARNING, SOURCES, names_of, sources_of
from specframe_plugins.drafters.lookup.drafter import LONGEST
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.sources.options import NODES


@attrs.frozen(slots=True, kw_only=True)
class CombineOptions:
    """Options of the drafter ``combine``."""

    sources: str = option("suffix+token-recycling", help=f"what guesses: {', '.join(SOURCES)}, joined by +")
    length: int = option(LONGEST, help="longest path to draft", unit="tokens", minimum=1)
    nodes: int = option(NODES, help="most nodes of a tree, the root aside", minimum=1)

    def __attrs_post_init__(self) -> None:
        names_of(self.sources)


def create(options: CombineOptions, context: BuildContext) -> SourceDrafter:
    """Return the drafter."""
    return SourceDrafter(sources_of(options.sources, options.length), options.nodes)


def learns(options: CombineOptions) -> bool:
    """Return whether one of the sources can be kept warm."""
    return bool(LEARNING.intersection(names_of(options.sources)))


COMPONENT = Component(
    name="combine",
    summary="no head: several of the drafters without one grow one tree",
    options=CombineOptions,
    factory=create,
    learns=learns,
)
