"""How large draft trees are: options, and defaults per device.

A part of a step that costs c seconds and is expected to add g tokens raises the speed of S tokens per second
exactly when g / c > S. A node of the draft tree adds one token if the target follows the whole path to it,
so g is the probability of its path, and c what one more node costs in a target pass (DySpec, arXiv
2410.11744, grows trees by this probability). A further level adds at most one token, with at most the
probability that the target follows one of the paths that it extends, and costs one run of the drafter (PEARL,
arXiv 2408.11850, adapts the draft length to the same end). As S and c hardly change from step to step, either
comparison is one with a constant S c, in tokens. The drafter's probabilities stand for the target's: they are
too high by a factor that hardly depends on the depth, and such a factor only moves the constant. So a tree
depends on its request alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import attrs
import torch

from specframe.contracts.kinds import TreeKind
from specframe.contracts.options import option
from specframe.contracts.sampled_tree import SampledShape
from specframe.errors import UsageError
from specframe.registry.components import BuildContext, Setting


@attrs.frozen(slots=True)
class TreeShape:
    """How large a draft tree may be, and what a part of it has to gain.

    Attributes:
        depth: levels at most.
        branching: beams per level and candidates of each; 1 drafts a chain.
        nodes: at most, the root included.
        free_nodes: as many nodes, the root included, cost a target pass no more than one does.
        node_gain: least probability of the path to any other node, in tokens; 0 keeps as many as may be.
        level_gain: least probability of the paths together that a level extends, in tokens; 0 drafts all.
    """

    depth: int
    branching: int
    nodes: int
    free_nodes: int = 1
    node_gain: float = 0.0
    level_gain: float = 0.0

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

    @property
    def follows_confidence(self) -> bool:
        """Whether the size depends on the drafter's probabilities, so that the host has to read them."""
        return bool(self.node_gain or self.level_gain)


# On a CPU every node of a target pass costs time, so small trees win, and reading the drafter's confidence is
# free (docs/performance.md has the sweep). Sampled trees keep whatever was drawn. A GPU has idle units; there
# the shape is the one of the NanoSpec paper, and a CUDA graph holds the whole draft step.
_CPU_SHAPE = TreeShape(depth=6, branching=4, nodes=16, free_nodes=6, node_gain=0.1, level_gain=0.7)
_CPU_SAMPLED_SHAPE = TreeShape(depth=3, branching=3, nodes=8)
_GPU_SHAPE = TreeShape(depth=6, branching=10, nodes=60)


def _by_device(name: str) -> str:
    """Return what an option is where nobody says, for its help."""
    cpu, sampled, gpu = (getattr(shape, name) for shape in (_CPU_SHAPE, _CPU_SAMPLED_SHAPE, _GPU_SHAPE))
    return f"none: {cpu} on a CPU, {sampled} if drawn, {gpu} on a GPU"


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
    free_nodes: int | None = option(
        None,
        help="nodes, the root included, that cost a target pass nothing, so that node_gain spares them; "
        f"none: {_CPU_SHAPE.free_nodes} on a CPU",
        unit="nodes",
        minimum=1,
    )
    node_gain: float | None = option(
        None,
        help="leave out nodes whose path is less likely; 0 keeps all; "
        f"none: {_CPU_SHAPE.node_gain:g} on a CPU, 0 on a GPU and if drawn",
        unit="tokens",
        minimum=0,
        maximum=1,
    )
    level_gain: float | None = option(
        None,
        help="draft no further level below paths that are less likely together; 0 drafts all; "
        f"none: {_CPU_SHAPE.level_gain:g} on a CPU, 0 on a GPU and if drawn",
        unit="tokens",
        minimum=0,
        maximum=1,
    )

    def shape(self, device: torch.device, tree: TreeKind = "top-k", *, cuda_graph: bool = False) -> TreeShape:
        """Return the shape of the draft trees.

        Args:
            device: of the drafter.
            tree: how they come about.
            cuda_graph: the draft step is captured.

        Raises:
            UsageError: a gain is asked for where trees cannot follow the drafter's confidence.
        """
        sampled = tree != "top-k"
        default = _GPU_SHAPE if device.type != "cpu" else _CPU_SAMPLED_SHAPE if sampled else _CPU_SHAPE
        chosen = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(TreeShape)
            if getattr(self, field.name) is not None
        }
        shape = attrs.evolve(default, **chosen)
        if shape.follows_confidence and sampled:
            raise UsageError(
                "node_gain and level_gain are for trees of the most likely tokens, drawn ones keep what was "
                "drawn; allowed: 0, or -o drafter.tree=top-k"
            )
        if shape.follows_confidence and cuda_graph:
            raise UsageError(
                "node_gain and level_gain let the size of a tree depend on its content, and a CUDA graph has "
                "fixed shapes; allowed: 0, or --no-cuda-graph"
            )
        return shape


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
    return (
        "node_gain=0.05|0.2,level_gain=0.5|0.7|0.9",
        "level_gain=0.5|0.9",
        "branching=3|6",
        "node_gain=0,level_gain=0,depth=2|3,nodes=6|8|12",
    )


# The kinds of trees that these options can ask for.
TREES: tuple[TreeKind, ...] = get_args(TreeKind)
