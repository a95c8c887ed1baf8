"""Declares the drafter ``aded``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.sources.options import NODES


@attrs.frozen(slots=True, kw_only=True)
class AdedOptions:
    """Options of the drafter ``aded``."""

    topk: int = option(4, help="tokens to keep after a pair", minimum=1, maximum=64)
    rows: int = option(
        65_536, help="most pairs to keep; the oldest go first", unit="rows of about 600 bytes", minimum=1
    )
    simulations: int = option(24, help="of the tree search for each draft", minimum=1)
    exploration: float = option(1.0, help="weight of what the search tried little", minimum=0.0)
    depth: int = option(8, help="deepest level of a tree", unit="tokens", minimum=1)
    nodes: int = option(NODES, help="most nodes of a tree, the root aside", minimum=1)


COMPONENT = Component(
    name="aded",
    summary="no head: trigrams that follow the target, and a tree search in them (ADED)",
    options=AdedOptions,
    factory="specframe_plugins.drafters.aded:create",
    learns=lambda _: True,
)
