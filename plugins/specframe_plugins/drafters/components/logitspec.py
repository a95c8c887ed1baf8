"""Declares the drafter ``logitspec``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.sources.options import NODES


@attrs.frozen(slots=True, kw_only=True)
class LogitSpecOptions:
    """Options of the drafter ``logitspec``."""

    topk: int = option(8, help="of the target's last top ids to extend the text by", minimum=2, maximum=64)
    length: int = option(32, help="longest path to draft", unit="tokens", minimum=1)
    nodes: int = option(NODES, help="most nodes of a tree, the root aside", minimum=1)


COMPONENT = Component(
    name="logitspec",
    summary="no head: prompt lookup, and runners-up of the last logits as what comes next (LogitSpec)",
    options=LogitSpecOptions,
    factory="specframe_plugins.drafters.logitspec:create",
)
