"""Declares the drafter ``eagle3``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Export
from specframe_plugins.drafters.components.eagle import COMPONENT as EAGLE
from specframe_plugins.drafters.components.eagle import PairOptions
from specframe_plugins.drafters.components.graft import learns
from specframe_plugins.training.options import TrainOptions


@attrs.frozen(slots=True, kw_only=True)
class Eagle3Options(PairOptions):
    """Options of the drafter ``eagle3``."""

    checkpoint: Path | None = option(
        None, help="directory or hub id of an EAGLE-3 head, public layout or this project's; needed"
    )


@attrs.frozen(kw_only=True)
class Eagle3TrainOptions(TrainOptions):
    """Options of `specframe train --drafter eagle3`."""

    lm_head: Literal["target", "own"] = option(
        "target",
        help="target: the target's, frozen and not stored; own: a copy of it that is trained and stored",
    )
    unroll_share: float = option(1.0, help="size of the last part, 0 to 1", minimum=0, maximum=1)
    noise: float = option(
        0.0, help="uniform noise on input features, relative to their root mean square", minimum=0
    )


COMPONENT = attrs.evolve(
    EAGLE,
    name="eagle3",
    summary="EAGLE-3: one decoder layer on features of several target layers, dynamic draft tree",
    options=Eagle3Options,
    factory="specframe_plugins.drafters.eagle3.drafter:create",
    train="specframe_plugins.drafters.eagle3.architecture:train",
    train_options=Eagle3TrainOptions,
    export=Export(
        "eagle3",
        "specframe_plugins.drafters.eagle3.export:target_of",
        "specframe_plugins.drafters.eagle3.export:write",
    ),
    diagnose="specframe_plugins.drafters.eagle3.diagnosis:diagnose",
    drafts=Eagle3Options.drafts,
    learns=learns,
)
