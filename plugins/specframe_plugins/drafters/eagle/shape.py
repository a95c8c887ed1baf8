"""How large draft trees are: options, and defaults per device."""

from __future__ import annotations

from typing import Literal

import attrs
import torch

from specframe.components import BuildContext
from specframe.options import option
from specframe.sampled_tree import SampledShape
from specframe.tree_kinds import TreeKind


@attrs.frozen(slots=True)
class TreeShape:
    """Levels, beams per level, and nodes of a draft tree, the root included."""

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


# On a CPU every node of a target pass costs time, so small trees win: of nine shapes this one was the
# fastest with the head for SmolLM2 on two cores (docs/training.md). A GPU has idle units; there the shape is
# the one of the NanoSpec paper.
_CPU_SHAPE = TreeShape(depth=3, branching=3, nodes=8)
_GPU_SHAPE = TreeShape(depth=6, branching=10, nodes=60)


@attrs.frozen(slots=True)
class TreeSampling:
    """Shape of trees that are drawn, and the temperature that the drafter's logits are divided by."""

    shape: SampledShape
    temperature: float


@attrs.frozen(slots=True, kw_only=True)
class TreeOptions:
    """Options of every drafter that drafts dynamic trees."""

    depth: int | None = option(
        None,
        help=f"levels of the draft tree; none: {_CPU_SHAPE.depth} on a CPU, {_GPU_SHAPE.depth} on a GPU",
        unit="levels",
        minimum=0,
    )
    branching: int | None = option(
        None,
        help="beams per level and candidates per beam, 1 drafts a chain; "
        f"none: {_CPU_SHAPE.branching} on a CPU, {_GPU_SHAPE.branching} on a GPU",
        unit="tokens",
        minimum=1,
    )
    nodes: int | None = option(
        None,
        help="largest draft tree, the root included; "
        f"none: {_CPU_SHAPE.nodes} on a CPU, {_GPU_SHAPE.nodes} on a GPU",
        unit="nodes",
        minimum=1,
    )

    tree: Literal["auto", "top-k", "chain", "paths", "without-replacement"] = option(
        "auto",
        help="most likely tokens, or drawn ones: one path, independent paths, or children without "
        "replacement; auto: what the verifier prefers",
    )
    temperature: float | None = option(
        None, help="of drawn trees; none: the target's", minimum=0.01, maximum=100.0
    )

    def shape(self, device: torch.device) -> TreeShape:
        """Return the shape of the draft trees on a device."""
        chosen = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(TreeShape)
            if getattr(self, field.name) is not None
        }
        return attrs.evolve(_CPU_SHAPE if device.type == "cpu" else _GPU_SHAPE, **chosen)

    def sampling(self, context: BuildContext) -> TreeSampling | None:
        """Return how trees are drawn for a verifier, or None for the most likely tokens."""
        if context.tree == "top-k":
            return None
        shape = self.shape(context.target.device)
        sampled = SampledShape.of(
            context.tree, depth=shape.levels, branching=shape.branching, nodes=shape.nodes
        )
        return TreeSampling(sampled, self.temperature or context.temperature or 1.0)


# The kinds of trees that these options can ask for.
TREES: tuple[TreeKind, ...] = ("top-k", "chain", "paths", "without-replacement")
