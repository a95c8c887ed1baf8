"""How large draft trees are: options, and what they are where nobody says.

Where costs were measured these are the most that a tree may have, and a budget says how much of it pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import attrs

from specframe.contracts.kinds import TreeKind
from specframe.contracts.options import option
from specframe.registry.components import BuildContext, Setting

if TYPE_CHECKING:
    import torch

    from specframe.contracts.sampled_tree import SampledShape


@attrs.frozen(slots=True)
class TreeShape:
    """How large a draft tree may be.

    Attributes:
        depth: levels at most.
        branching: beams per level and candidates of each; 1 drafts a chain.
        nodes: at most, the root included.
    """

    depth: int
    branching: int
    nodes: int

    @property
    def levels(self) -> int:
        """The deepest level that a tree can reach."""
        return min(self.depth, self.nodes - 1)

    @property
    def drafted_levels(self) -> int:
        """Levels whose nodes go through the head: all but the deepest."""
        return max(self.levels - 1, 0)

    @property
    def largest(self) -> int:
        """The most nodes that a tree can have."""
        candidates = self.branching + self.drafted_levels * self.branching**2 if self.levels else 0
        return min(self.nodes, 1 + candidates)


# Within a budget, as large as may pay anywhere. Without one on a CPU, where every node costs time, small;
# what was drawn is kept whole. A GPU has idle units; there the shape is the one of the NanoSpec paper, and a
# CUDA graph holds the whole draft step.
_LARGEST_SHAPE = TreeShape(depth=8, branching=4, nodes=32)
_CPU_SHAPE = TreeShape(depth=3, branching=4, nodes=6)
_CPU_SAMPLED_SHAPE = TreeShape(depth=3, branching=3, nodes=8)
_GPU_SHAPE = TreeShape(depth=6, branching=10, nodes=60)


def _by_device(name: str) -> str:
    """Return what an option is where nobody says, for its help."""
    shapes = (_LARGEST_SHAPE, _CPU_SHAPE, _CPU_SAMPLED_SHAPE, _GPU_SHAPE)
    most, cpu, sampled, gpu = (getattr(shape, name) for shape in shapes)
    return f"none: {most} where costs decide; else {cpu} on a CPU, {sampled} if drawn, {gpu} on a GPU"


@attrs.frozen(slots=True)
class TreeSampling:
    """Shape of sampled trees, and the temperature that the drafter's logits are divided by."""

    shape: SampledShape
    temperature: float


@attrs.frozen(slots=True, kw_only=True)
class SizeOptions:
    """How large dynamic trees are."""

    depth: int | None = option(
        None,
        help=f"most levels of the draft tree; {_by_device('depth')}",
        unit="levels",
        minimum=0,
    )
    branching: int | None = option(
        None,
        help=f"beams per level and candidates per beam, 1 drafts a chain; {_by_device('branching')}",
        unit="tokens",
        minimum=1,
    )
    nodes: int | None = option(
        None,
        help=f"largest draft tree, the root included; {_by_device('nodes')}",
        unit="nodes",
        minimum=1,
    )

    def shape(self, device: torch.device, tree: TreeKind = "top-k", *, budgeted: bool = False) -> TreeShape:
        """Return the shape of the draft trees.

        Args:
            device: of the drafter.
            tree: how they come about.
            budgeted: measured costs decide how much of a tree is drafted.
        """
        default = _CPU_SHAPE if device.type == "cpu" else _GPU_SHAPE
        if tree != "top-k":
            default = _CPU_SAMPLED_SHAPE if device.type == "cpu" else _GPU_SHAPE
        elif budgeted:
            default = _LARGEST_SHAPE
        chosen = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(TreeShape)
            if getattr(self, field.name) is not None
        }
        return attrs.evolve(default, **chosen)


@attrs.frozen(slots=True, kw_only=True)
class TreeOptions(SizeOptions):
    """Options of every drafter that drafts dynamic trees: how large they are, and how they come about."""

    tree: Literal["auto", "top-k", "chain", "paths", "without-replacement"] = option(
        "auto",
        help="most likely tokens, or drawn ones: one path, independent paths, or children without "
        "replacement; auto: what the verifier prefers",
    )
    temperature: float | None = option(
        None, help="of drawn trees; none: the target's", minimum=0.01, maximum=100.0
    )

    def drafts(self) -> tuple[TreeKind, ...]:
        """Return the kinds of draft trees that may be drafted."""
        return TREES if self.tree == "auto" else (self.tree,)

    def sampling(self, context: BuildContext) -> TreeSampling | None:
        """Return how trees are sampled for a verifier, or None for the most likely tokens."""
        # Imported when a tree is drawn: options are read without torch.
        from specframe.contracts.sampled_tree import SampledShape

        if context.tree == "top-k":
            return None
        shape = self.shape(context.target.device, context.tree)
        sizes = SampledShape.of(
            context.tree, depth=shape.levels, branching=shape.branching, nodes=shape.nodes
        )
        return TreeSampling(sizes, self.temperature or context.sampling.temperature or 1.0)


def sweep(setting: Setting) -> Sequence[str]:
    """Return the shapes around the default of a device: sizes that follow the confidence, and fixed ones."""
    if setting.device.type != "cpu":
        return ("depth=4|8,nodes=30|60|90", "nodes=30|90")
    return ("branching=1|2|6", "depth=2|3|4", "nodes=4|8|16", "depth=2|3,nodes=6|8|12")


# The kinds of trees that these options can ask for.
TREES: tuple[TreeKind, ...] = get_args(TreeKind)
