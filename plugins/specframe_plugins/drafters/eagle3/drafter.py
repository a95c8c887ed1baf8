"""The drafter ``eagle3``: a dynamic tree with an EAGLE-3 head (arXiv 2503.01840).

A pair is the embedding of token t + 1 and the fused features of several target layers at position t. Below
the first level the head's own output stands in for the features. The tree is that of EAGLE-2.
"""

from __future__ import annotations

import logging
from pathlib import Path

import attrs

from specframe.contracts.options import option
from specframe.errors import UsageError
from specframe.ops.graphs import CapturedSteps
from specframe.registry.components import BuildContext, Component
from specframe_plugins.drafters.eagle.drafter import EagleDrafter
from specframe_plugins.drafters.eagle3.cached import CachedEagle3
from specframe_plugins.drafters.eagle3.checkpoint import load_head
from specframe_plugins.drafters.eagle3.diagnosis import (
    SUBJECT,
    diagnose,
    embedding_of,
    predictor,
    special_ids,
)
from specframe_plugins.drafters.eagle3.training import train
from specframe_plugins.drafters.eagle3.training.options import Eagle3TrainOptions
from specframe_plugins.drafters.lookup.drafter import Pausable, with_lookup
from specframe_plugins.drafters.probe import warn_unless_it_predicts
from specframe_plugins.training import data_commands
from specframe_plugins.trees.shape import TREES, TreeOptions, sweep

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True, kw_only=True)
class Eagle3Options(TreeOptions):
    """Options of the drafter ``eagle3``."""

    checkpoint: Path | None = option(
        None, help="directory of an EAGLE-3 head, public layout or this project's; needed"
    )


def create(options: Eagle3Options, context: BuildContext) -> Pausable:
    """Return the drafter for a target.

    Raises:
        CheckpointError: the checkpoint is missing, corrupt, or made for another target.
        UsageError: no checkpoint was given.
    """
    target = context.target
    if options.checkpoint is None:
        raise UsageError("drafter 'eagle3' ships no head; allowed: -o drafter.checkpoint=DIRECTORY")
    loaded = load_head(options.checkpoint, target)
    reaches_the_end, message = special_ids(loaded, target)
    if not reaches_the_end:
        _log.warning("%s: %s", SUBJECT, message)
    warn_unless_it_predicts(SUBJECT, predictor(loaded, target), target, loaded.head.config.feature_layers)
    shape = options.shape(target.device, context.tree, cuda_graph=context.cuda_graph)
    sampling = options.sampling(context)
    beams = shape.branching if sampling is None else sampling.shape.beams
    drafter = EagleDrafter(
        CachedEagle3(loaded.head, beams=beams, levels=shape.drafted_levels),
        embedding_of(loaded, target),
        loaded.output_head(target),
        shape,
        feature_layers=loaded.head.config.feature_layers,
        graphs=CapturedSteps(target.device) if context.cuda_graph else None,
        sampling=sampling,
    )
    return with_lookup(drafter, options.lookup_length(context))


COMPONENT = Component(
    name="eagle3",
    summary="EAGLE-3: one decoder layer on features of several target layers, dynamic draft tree",
    options=Eagle3Options,
    factory=create,
    train=train,
    train_data=data_commands,
    train_options=Eagle3TrainOptions,
    diagnose=diagnose,
    trees=TREES,
    draws=Eagle3Options.draws,
    sweep=sweep,
)
