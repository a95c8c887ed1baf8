"""Options of `specframe train` for the EAGLE-3 drafter."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from specframe.contracts.options import option
from specframe_plugins.training.options import TrainOptions


@frozen(kw_only=True)
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
