"""Declares the drafter ``eagle``, and what ``eagle3`` has in common with it."""

from __future__ import annotations

from pathlib import Path

import attrs

from specframe.contracts.options import option
from specframe.errors import UsageError
from specframe.registry.components import Component, Export
from specframe_plugins.drafters.components.graft import GraftOptions, learns, sweep
from specframe_plugins.training.options import TrainOptions
from specframe_plugins.trees.shape import TREES, TreeOptions

# Predictions that ``adapt`` keeps, the oldest of which go first: 2 x H numbers each.
ADAPTED_ROWS = 1024


@attrs.frozen(slots=True, kw_only=True)
class PairOptions(TreeOptions, GraftOptions):
    """Options of the drafters with an EAGLE head of any kind."""


@attrs.frozen(slots=True, kw_only=True)
class EagleOptions(PairOptions):
    """Options of the drafter ``eagle``."""

    checkpoint: Path | None = option(
        None, help="directory or hub id of an EAGLE-2 head; none: the head that ships for the target"
    )
    adapt: bool = option(
        False,
        help=f"correct the head by what its last {ADAPTED_ROWS} predictions lacked; of earlier requests with "
        "--warm",
    )
    adapt_file: Path | None = option(
        None, help="read at the start what adapt learnt, and write it after every request; none: nowhere"
    )

    def __attrs_post_init__(self) -> None:
        # A class with slots is made twice, so super() without arguments would find the first one.
        GraftOptions.__attrs_post_init__(self)
        if self.adapt_file is not None and not self.adapt:
            raise UsageError("adapt_file is where adapt keeps what it learnt; allowed: beside adapt=on")


def learns_in_use(options: EagleOptions) -> bool:
    """Return whether the head, or something grafted, can be kept warm."""
    return options.adapt or learns(options)


COMPONENT = Component(
    name="eagle",
    summary="EAGLE-2: one decoder layer on the target's features, dynamic draft tree",
    options=EagleOptions,
    factory="specframe_plugins.drafters.eagle.drafter:create",
    train="specframe_plugins.drafters.eagle.architecture:train",
    train_data="specframe_plugins.training.data:TokenData",
    train_options=TrainOptions,
    export=Export(
        "eagle",
        "specframe_plugins.drafters.eagle.export:target_of",
        "specframe_plugins.drafters.eagle.export:write",
    ),
    diagnose="specframe_plugins.drafters.eagle.diagnosis:diagnose",
    trees=TREES,
    drafts=EagleOptions.drafts,
    sweep=sweep,
    learns=learns_in_use,
)
