"""What is known of the strategy ``lexicon`` before it is built; nothing here waits for torch."""

from __future__ import annotations

from pathlib import Path

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component


@attrs.frozen(slots=True)
class LexiconOptions:
    """Options of ``lexicon``."""

    words: Path | None = option(
        None, help="file with one word or phrase per line; none for the statistics lexicon"
    )
    capacity: int = option(
        2048, help="slots of the packed head, at most the vocabulary", unit="tokens", minimum=1
    )


COMPONENT = Component(
    name="lexicon",
    summary="a domain lexicon united with the context",
    options=LexiconOptions,
    factory="specframe_lexicon.strategy:build",
)
