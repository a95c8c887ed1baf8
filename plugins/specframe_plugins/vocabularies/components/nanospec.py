"""Declares the strategy ``nanospec``."""

from __future__ import annotations

from pathlib import Path

import attrs

from specframe.contracts.kinds import Eviction
from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.vocabularies.components.maps import MAP_HELP

# Slots of the paper, and those that are left beside a larger core for what turns up.
_CAPACITY, _BESIDE_CORE = 3072, 2560
# A core keeps more of tau for its rows than a deeper harvest does (docs/strategies.md): without measured
# costs 512 of 3,072 slots.
CORE_SHARE = 6
# Prompt positions to harvest.
WINDOW = 32


@attrs.frozen(slots=True)
class NanospecOptions:
    """Options of ``nanospec``."""

    capacity: int | None = option(
        None,
        help=f"slots of the packed head, at most the vocabulary; none: {_CAPACITY}, and more beside a core "
        "that leaves too few",
        unit="tokens",
        minimum=1,
        tune=(192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 6144),
    )
    harvest_topk: int = option(
        3,
        help="how many of the target's top tokens to admit per position",
        unit="tokens",
        minimum=1,
        tune=(1, 2, 3, 4, 5, 6, 8),
    )
    prompt_window: int | None = option(
        None,
        help=f"how many of the last prompt positions to harvest; none: {WINDOW}, or the last alone where "
        "the measured costs of the LM head favour that",
        unit="positions",
        minimum=0,
        tune=(0, 16, 32, 64, 256),
    )
    use_context: bool = option(True, help="admit the tokens of the prompt and of the output")
    use_extension: bool = option(True, help="admit drafted tokens and the target's top tokens")
    eviction: Eviction = option("fifo", help="what leaves when full: the oldest, or the least recently seen")
    keep_between_turns: bool = option(
        False,
        help="let a turn of a conversation start with the active set that the turn before left",
        tune=(False,),  # a trace holds single turns
    )
    core: int | None = option(
        None,
        help="most frequent tokens that are always active; none: where frequencies are given or ship for the "
        f"target, what the measured costs favour, or 1 in {CORE_SHARE} of the capacity; 0 elsewhere",
        unit="tokens",
        minimum=0,
        tune=(0, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    )
    frequencies: Path | None = option(
        None, help=f"a map of tokens for core, {MAP_HELP}; none for the frequencies shipped with specframe"
    )
    text: Path | None = option(None, help="text to count token frequencies for core in")

    def __attrs_post_init__(self) -> None:
        if not (self.use_context or self.use_extension or self.core):
            raise ValueError("nothing is admitted; set use_context, use_extension or core")
        if (self.frequencies or self.text) and self.core == 0:
            raise ValueError("frequencies and text decide which tokens form the core; set core above 0")

    def slots(self, core: int, vocab_size: int) -> int:
        """Return how many slots the packed head has beside and for a core of so many tokens."""
        wanted = max(_CAPACITY, core + _BESIDE_CORE) if self.capacity is None else self.capacity
        return min(wanted, vocab_size)


COMPONENT = Component(
    name="nanospec",
    summary="the context and the target's own top tokens, training-free (NanoSpec)",
    options=NanospecOptions,
    factory="specframe_plugins.vocabularies.nanospec:build_admission",
)
