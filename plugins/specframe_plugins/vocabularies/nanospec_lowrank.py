"""Strategy ``nanospec+lowrank``: what the context brings, and for each hidden state what a screen finds.

The active set of ``nanospec``, without a core, catches what is local to a text, however rare; the screen of
``lowrank`` what is new in it. Drafts go over both.
"""

from __future__ import annotations

from specframe.registry.components import BuildContext
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions
from specframe_plugins.vocabularies.components.nanospec_lowrank import NanospecLowRankOptions
from specframe_plugins.vocabularies.lowrank import LowRankScreen
from specframe_plugins.vocabularies.nanospec import NanospecVocabulary, window_size


def build(options: NanospecLowRankOptions, context: BuildContext) -> NanospecVocabulary:
    """Return the strategy for a target."""
    active = NanospecOptions(
        capacity=options.capacity,
        harvest_topk=options.harvest_topk,
        prompt_window=options.prompt_window,
        core=0,
    )
    vocabulary = NanospecVocabulary(
        active, context.required_ids, context.target.vocab_size, window=window_size(context, core=0)
    )
    vocabulary.screen = LowRankScreen(options.rank, options.candidates, options.rows)
    return vocabulary
