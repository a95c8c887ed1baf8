"""The drafter ``lookup``: drafts what the context has said before, without a head.

Source: prompt lookup decoding (Saxena 2023); SAM decoding (arXiv 2411.10666) chooses by the length of the
match, where here its measured rate decides.
"""

from __future__ import annotations

from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.lookup import LookupOptions
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.sources.drafter import SourceDrafter


def create(options: LookupOptions, context: BuildContext) -> SourceDrafter:
    """Return the drafter."""
    return SourceDrafter([LookupSource(options.length)], options.length)
