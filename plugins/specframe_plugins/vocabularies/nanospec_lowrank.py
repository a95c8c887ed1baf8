"""Strategy ``nanospec+lowrank``: what the context brings, and for each hidden state what a screen finds.

The active set of ``nanospec``, without a core, catches what is local to a text, however rare; the screen of
``lowrank`` what is new in it. Drafts go over both.
"""

from __future__ import annotations

import attrs

from specframe.contracts.options import option, same_option
from specframe.registry.components import BuildContext, Component
from specframe_plugins.vocabularies.lowrank import LowRankOptions, LowRankScreen
from specframe_plugins.vocabularies.nanospec import NanospecOptions, NanospecVocabulary, window_size


@attrs.frozen(slots=True)
class NanospecLowRankOptions:
    """Options of ``nanospec+lowrank``."""

    rank: int = same_option(LowRankOptions, "rank", default=32)
    candidates: int = same_option(LowRankOptions, "candidates", default=128)
    rows: int | None = same_option(LowRankOptions, "rows")
    capacity: int = option(
        1024,
        help="slots of the packed head, at most the vocabulary",
        unit="tokens",
        minimum=1,
        tune=(192, 256, 384, 512, 1024),
    )
    harvest_topk: int = same_option(NanospecOptions, "harvest_topk")
    prompt_window: int | None = same_option(NanospecOptions, "prompt_window")


def _build(options: NanospecLowRankOptions, context: BuildContext) -> NanospecVocabulary:
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


COMPONENT = Component(
    name="nanospec+lowrank",
    summary="the context and the target's own top tokens, and candidates of a low-rank estimate",
    options=NanospecLowRankOptions,
    factory=_build,
)
