"""Declares the drafter ``swift``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.drafters.components import graft
from specframe_plugins.drafters.components.graft import GraftOptions, sweep
from specframe_plugins.trees.shape import TREES, TreeOptions


@attrs.frozen(slots=True, kw_only=True)
class SwiftOptions(TreeOptions, GraftOptions):
    """Options of the drafter ``swift``."""

    skip: float = option(
        0.1,
        help="share of the weights between the first and the last layer to leave out: attentions and MLPs; "
        "small models bear little, large ones more (0.45 in the paper)",
        minimum=0.0,
        maximum=1.0,
    )
    every: int = option(
        32, help="emitted tokens from one trial of other parts to the next", unit="tokens", minimum=1
    )
    window: int = option(32, help="last tokens that a trial reads again", unit="tokens", minimum=2)
    trials: int = option(
        200, help="most trials; 0 leaves out the same parts always", unit="trials", minimum=0
    )


def learns(options: SwiftOptions) -> bool:
    """Return whether something can be kept warm: what the search found, or what is grafted."""
    return bool(options.trials) or graft.learns(options)


COMPONENT = Component(
    name="swift",
    summary="the target itself, parts of its layers left out as the text shows; dynamic draft tree",
    options=SwiftOptions,
    factory="specframe_plugins.drafters.swift.drafter:create",
    trees=TREES,
    drafts=SwiftOptions.drafts,
    sweep=sweep,
    learns=learns,
)
