"""Declares the drafter ``mtp``."""

from __future__ import annotations

from pathlib import Path

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.drafters.components.graft import GraftOptions, learns, sweep
from specframe_plugins.trees.shape import TREES, TreeOptions


@attrs.frozen(slots=True, kw_only=True)
class MtpOptions(TreeOptions, GraftOptions):
    """Options of the drafter ``mtp``."""

    checkpoint: Path | None = option(
        None, help="directory or hub id of the checkpoint with the layer; none: that of the target"
    )


COMPONENT = Component(
    name="mtp",
    summary="the multi-token-prediction layer inside the target's checkpoint; dynamic draft tree",
    options=MtpOptions,
    factory="specframe_plugins.drafters.mtp.drafter:create",
    diagnose="specframe_plugins.drafters.mtp.diagnosis:diagnose",
    trees=TREES,
    drafts=MtpOptions.drafts,
    sweep=sweep,
    learns=learns,
)
