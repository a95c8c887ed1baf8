"""The drafter ``eagle3``: a dynamic tree with an EAGLE-3 head (arXiv 2503.01840).

A pair is the embedding of token t + 1 and the fused features of several target layers at position t. Below
the first level the head's own output stands in for the features. The tree is that of EAGLE-2.
"""

from __future__ import annotations

import logging
from functools import partial

from specframe.contracts.protocols import Drafter
from specframe.errors import UsageError
from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.eagle3 import Eagle3Options
from specframe_plugins.drafters.eagle.diagnosis import predictor
from specframe_plugins.drafters.eagle.drafter import assemble
from specframe_plugins.drafters.eagle3.cached import CachedEagle3
from specframe_plugins.drafters.eagle3.checkpoint import load_head
from specframe_plugins.drafters.eagle3.diagnosis import SUBJECT, special_ids
from specframe_plugins.drafters.probe import warn_unless_it_predicts

_log = logging.getLogger(__name__)


def create(options: Eagle3Options, context: BuildContext) -> Drafter:
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
    layers = loaded.head.config.feature_layers
    embed_tokens, output_head = loaded.embed_tokens(target), loaded.output_head(target)
    warn_unless_it_predicts(SUBJECT, predictor(loaded.head, embed_tokens, output_head), target, layers)
    make_layer = partial(CachedEagle3, loaded.head)
    return assemble(make_layer, embed_tokens, output_head, options, context, layers)
