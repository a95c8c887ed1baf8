"""Declares the drafter ``lookup``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component

# Tokens of a path at most.
LONGEST = 32


@attrs.frozen(slots=True, kw_only=True)
class LookupOptions:
    """Options of the drafter ``lookup``."""

    length: int = option(LONGEST, help="longest continuation to draft", unit="tokens", minimum=1)


COMPONENT = Component(
    name="lookup",
    summary="no head: what followed the last time that the context said the same",
    options=LookupOptions,
    factory="specframe_plugins.drafters.lookup.drafter:create",
)
