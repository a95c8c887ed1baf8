"""What drafters with a head graft onto their trees: nodes that token sources propose.

Prune, then graft: the active vocabulary and the budget leave places of the tree free, and tokens that were
retrieved from the context take them (Draft Less, Retrieve More, 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from specframe.contracts.protocols import Drafter
from specframe.registry.components import BuildContext
from specframe_plugins.drafters import aded, logitspec, suffix, token_recycling
from specframe_plugins.drafters.components.aded import AdedOptions
from specframe_plugins.drafters.components.graft import GraftOptions, names_of
from specframe_plugins.drafters.components.logitspec import LogitSpecOptions
from specframe_plugins.drafters.components.suffix import SuffixOptions
from specframe_plugins.drafters.components.token_recycling import TokenRecyclingOptions
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.sources.options import NODES
from specframe_plugins.sources.source import Source

# How each of ``SOURCES`` is made, given the longest path.
_MAKERS: Mapping[str, Callable[[int], list[Source]]] = {
    "aded": lambda length: [aded.source_of(AdedOptions(depth=min(length, 8)))],
    "logitspec": lambda length: logitspec.sources_of(LogitSpecOptions(length=length)),
    "lookup": lambda length: [LookupSource(length)],
    "suffix": lambda length: [suffix.source_of(SuffixOptions(length=length))],
    "token-recycling": lambda length: [
        token_recycling.source_of(TokenRecyclingOptions(depth=min(length, 8)))
    ],
}


def sources_of(text: str, length: int) -> list[Source]:
    """Return the sources that ``a+b+c`` names, none twice.

    Args:
        text: names of sources.
        length: tokens of a path at most.

    Raises:
        UsageError: a name is unknown.
    """
    sources = [source for name in names_of(text) for source in _MAKERS[name](length)]
    return list({source.name: source for source in sources}.values())


def grafted(drafter: Drafter, options: GraftOptions, context: BuildContext) -> Drafter:
    """Return the drafter with what its options graft onto its trees.

    Raises:
        UsageError: sources were asked for beside sampled trees.
    """
    length = options.graft_length(context)
    if not length:
        return drafter
    return SourceDrafter(sources_of(options.graft, length), max(length, NODES), drafter)
