"""Declares the drafter ``suffix``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.sources.options import NODES


@attrs.frozen(slots=True, kw_only=True)
class SuffixOptions:
    """Options of the drafter ``suffix``."""

    length: int = option(32, help="longest path to draft", unit="tokens", minimum=1)
    nodes: int = option(NODES, help="most nodes of a tree, the root aside", minimum=1)
    tokens: int = option(
        200_000,
        help="of earlier texts to draft from where --warm asks for them",
        unit="tokens of about 100 bytes",
        minimum=0,
    )


COMPONENT = Component(
    name="suffix",
    summary="no head: how often each token followed where the text ended like this (SuffixDecoding)",
    options=SuffixOptions,
    factory="specframe_plugins.drafters.suffix:create",
    learns=lambda _: True,
)
