"""The option of drafters that graft a path of the context onto their trees."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from specframe.contracts.options import option
from specframe.errors import UsageError
from specframe.registry.components import BuildContext, Setting
from specframe_plugins.trees import shape
from specframe_plugins.trees.shape import SizeOptions

# Tokens of a path at most.
LONGEST = 32


# Without slots: a drafter's options inherit those of its trees beside this one.
@attrs.frozen(slots=False, kw_only=True)
class GraftOptions(SizeOptions):
    """How long the path may be."""

    lookup: int | None = option(
        None,
        help="most tokens to draft from where the context said the same before, 0 drafts none; "
        f"none: {LONGEST} on a CPU, 0 on a GPU and if drawn",
        unit="tokens",
        minimum=0,
    )

    def lookup_length(self, context: BuildContext) -> int:
        """Return how many tokens to draft at most from where the context said the same before.

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
        # The path costs no draft, but the host has to read the tree.
        on_cpu = context.target.device.type == "cpu"
        shape = self.shape(context.target.device, budgeted=context.budgeted)
        return LONGEST if on_cpu and not sampled and shape.levels else 0


def sweep(setting: Setting) -> Sequence[str]:
    """Return the shapes around the default of a device, and on a CPU lengths of the path."""
    *following, fixed = shape.sweep(setting)
    paths = ["lookup=0|8|16"] if setting.device.type == "cpu" else []
    return (*following, *paths, fixed)
