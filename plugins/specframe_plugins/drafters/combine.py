"""The drafter ``combine``: no head; several sources grow one tree.

Each source's guesses count by how often guesses like them were right in this request, so whoever is right
gets the places; measured costs cut the tree to what pays. Drafters with a head take the same sources by their
option ``graft``.
"""

from __future__ import annotations

from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.combine import CombineOptions
from specframe_plugins.drafters.graft import sources_of
from specframe_plugins.sources.drafter import SourceDrafter


def create(options: CombineOptions, context: BuildContext) -> SourceDrafter:
    """Return the drafter."""
    return SourceDrafter(sources_of(options.sources, options.length), options.nodes)
