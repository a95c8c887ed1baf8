"""What drafters with a head graft onto their trees: nodes that token sources propose.

Prune, then graft: the active vocabulary and the budget leave places of the tree free, and tokens that were
retrieved from the context take them (Draft Less, Retrieve More, 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from specframe.contracts.options import option
from specframe.contracts.protocols import Drafter
from specframe.errors import UsageError, unknown_name
from specframe.registry.components import BuildContext, Setting
from specframe_plugins.drafters.aded import AdedOptions
from specframe_plugins.drafters.logitspec import LogitSpecOptions
from specframe_plugins.drafters.lookup.drafter import LONGEST
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.drafters.suffix import SuffixOptions
from specframe_plugins.drafters.token_recycling import TokenRecyclingOptions
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.sources.options import NODES
from specframe_plugins.sources.source import Source
from specframe_plugins.trees import shape
from specframe_plugins.trees.shape import SizeOptions

# What can be combined, by the names of the drafters that draft it alone, given the longest path.
SOURCES: Mapping[str, Callable[[int], list[Source]]] = {
    "aded": lambda length: [AdedOptions(depth=min(length, 8)).source()],
    "logitspec": lambda length: LogitSpecOptions(length=length).sources(),
    "lookup": lambda length: [LookupSource(length)],
    "suffix": lambda length: [SuffixOptions(length=length).source()],
    "token-recycling": lambda length: [TokenRecyclingOptions(depth=min(length, 8)).source()],
}
# Of these, what can be kept warm.
LEARNING = frozenset({"aded", "suffix", "token-recycling"})
_DEFAULT = "lookup"


def names_of(text: str) -> list[str]:
    """Return the names in ``a+b+c``.

    Raises:
        UsageError: one of them is unknown, or there is none.
    """
    names = [name.strip() for name in text.split("+")]
    for name in names:
        if name not in SOURCES:
            raise unknown_name("source", name, SOURCES)
    return list(dict.fromkeys(names))


def sources_of(text: str, length: int) -> list[Source]:
    """Return the sources that ``a+b+c`` names, none twice.

    Args:
        text: names of sources.
        length: tokens of a path at most.

    Raises:
        UsageError: a name is unknown.
    """
    sources = [source for name in names_of(text) for source in SOURCES[name](length)]
    return list({source.name: source for source in sources}.values())


# Without slots: a drafter's options inherit those of its trees beside this one.
@attrs.frozen(slots=False, kw_only=True)
class GraftOptions(SizeOptions):
    """What is grafted."""

    lookup: int | None = option(
        None,
        help="most tokens of a path that is drafted without the head, 0 for none; "
        f"none: {LONGEST} on a CPU and with another graft, 0 on a GPU and if drawn",
        unit="tokens",
        minimum=0,
    )
    graft: str = option(
        _DEFAULT,
        help=f"what proposes them: {', '.join(SOURCES)}, or several of these joined by +",
    )

    def __attrs_post_init__(self) -> None:
        names_of(self.graft)

    def graft_length(self, context: BuildContext) -> int:
        """Return how many tokens of a path to draft at most without the head.

        Raises:
            UsageError: it was asked for beside sampled trees.
        """
        sampled = context.tree != "top-k"
        if self.lookup is not None:
            if self.lookup and sampled:
                raise UsageError(
                    "lookup adds tokens that were not drawn, which is not exact for drawn trees; allowed: 0, "
                    "or -o drafter.tree=top-k"
                )
            return self.lookup
        named = names_of(self.graft) != names_of(_DEFAULT)
        if named and sampled:
            raise UsageError(
                f"graft={self.graft} adds tokens that were not drawn, which is not exact for drawn trees; "
                "allowed: -o drafter.tree=top-k"
            )
        # The path costs no draft, but the host has to read the tree.
        on_cpu = context.target.device.type == "cpu"
        shape = self.shape(context.target.device, budgeted=context.budgeted)
        return LONGEST if (on_cpu or named) and not sampled and shape.levels else 0


def grafted(drafter: Drafter, options: GraftOptions, context: BuildContext) -> Drafter:
    """Return the drafter with what its options graft onto its trees.

    Raises:
        UsageError: sources were asked for beside sampled trees.
    """
    length = options.graft_length(context)
    if not length:
        return drafter
    return SourceDrafter(sources_of(options.graft, length), max(length, NODES), drafter)


def learns(options: GraftOptions) -> bool:
    """Return whether something grafted can be kept warm."""
    return options.lookup != 0 and bool(LEARNING.intersection(names_of(options.graft)))


def sweep(setting: Setting) -> Sequence[str]:
    """Return the shapes around the default of a device, and on a CPU lengths of the path."""
    *following, fixed = shape.sweep(setting)
    paths = ["lookup=0|8|16"] if setting.device.type == "cpu" else []
    return (*following, *paths, fixed)
