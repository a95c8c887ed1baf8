"""The drafter ``lookup``: drafts what the context has said before, without a head.

Source: prompt lookup decoding (Saxena 2023); SAM decoding (arXiv 2411.10666) chooses by the length of the
match, where here its measured rate decides.
"""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import BuildContext, Component
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.sources.drafter import SourceDrafter

# Tokens of a path at most.
LONGEST = 32


@attrs.frozen(slots=True, kw_only=True)
class LookupOptions:
    """Options of the drafter ``lookup``."""

    length: int = option(LONGEST, help="longest continuation to draft", unit="tokens", minimum=1)


def create(options: LookupOptions, context: BuildContext) -> SourceDrafter:
    """Return the drafter."""
    return SourceDrafter([LookupSource(options.length)], options.length)


COMPONENT = Component(
    name="lookup",
    summary="no head: what followed the last time that the context said the same",
    options=LookupOptions,
    factory=create,
)
