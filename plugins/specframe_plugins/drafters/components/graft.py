"""Options of what drafters with a head graft onto their trees."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from specframe.contracts.options import option
from specframe.errors import UsageError, unknown_name
from specframe.registry.components import BuildContext, Setting
from specframe_plugins.drafters.components.lookup import LONGEST
from specframe_plugins.trees import shape
from specframe_plugins.trees.shape import SizeOptions

# What can be combined, by the names of the drafters that draft it alone.
SOURCES = ("aded", "logitspec", "lookup", "suffix", "token-recycling")
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


def learns(options: GraftOptions) -> bool:
    """Return whether something grafted can be kept warm."""
    return options.lookup != 0 and bool(LEARNING.intersection(names_of(options.graft)))


def sweep(setting: Setting) -> Sequence[str]:
    """Return the shapes around the default of a device, and on a CPU lengths of the path."""
    *following, fixed = shape.sweep(setting)
    paths = ["lookup=0|8|16"] if setting.device.type == "cpu" else []
    return (*following, *paths, fixed)
