"""Declares the drafter ``token-recycling``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.sources.options import NODES


@attrs.frozen(slots=True, kw_only=True)
class TokenRecyclingOptions:
    """Options of the drafter ``token-recycling``."""

    topk: int = option(4, help="of the target's top ids to keep after each token", minimum=1, maximum=64)
    rows: int = option(
        65536,
        help="most tokens to keep a row for, and as many pairs; the oldest go first",
        unit="rows of about 300 bytes",
        minimum=1,
    )
    context: int = option(
        2, help="tokens that a row is kept for: 1, or 2 for pairs as well", minimum=1, maximum=2
    )
    prompt_window: int = option(
        0, help="last prompt positions to learn from, which costs a product of the LM head", minimum=0
    )
    depth: int = option(8, help="deepest level of a tree", unit="tokens", minimum=1)
    nodes: int = option(NODES, help="most nodes of a tree, the root aside", minimum=1)


COMPONENT = Component(
    name="token-recycling",
    summary="no head: what the target found likely after a token before (Token Recycling)",
    options=TokenRecyclingOptions,
    factory="specframe_plugins.drafters.token_recycling:create",
    learns=lambda _: True,
)
