"""Declares the strategy ``retrieval``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions

# The table of neighbours has V rows of so many: beyond, it takes more memory than models do.
MOST = 256


@attrs.frozen(slots=True)
class RetrievalOptions(NanospecOptions):
    """Options of ``retrieval``: those of ``nanospec``, and what comes besides."""

    neighbours: int = option(
        1,
        help="tokens of the nearest embeddings to admit with each token of the text",
        unit="tokens",
        minimum=0,
        maximum=MOST,
        tune=(0, 1, 2, 4, 8),
    )
    successors: int = option(
        0,
        help="of each token of the text, how many that came after it in the request to admit once more",
        unit="tokens",
        minimum=0,
        tune=(0, 4, 16),
    )


COMPONENT = Component(
    name="retrieval",
    summary="what nanospec admits, its neighbours in the embedding, and what followed it (EvoSpec)",
    options=RetrievalOptions,
    factory="specframe_plugins.vocabularies.retrieval.strategy:build",
)
