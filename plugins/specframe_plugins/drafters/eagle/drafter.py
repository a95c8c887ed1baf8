"""The drafter ``eagle``: drafts a dynamic tree with an EAGLE head (EAGLE-2, arXiv 2406.16858).

A pair is the embedding of token t + 1 and the feature at position t; from it the head predicts feature t + 1,
and the LM head proposes token t + 2. Below the first level the predicted feature stands in for the target's.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import torch
from torch import Tensor, nn

from specframe.clock import PhaseClock
from specframe.components import BuildContext, Component
from specframe.head import OutputHead
from specframe.options import option
from specframe.protocols import GatherBackend
from specframe.types import DraftTree, Verdict
from specframe_plugins.drafters.eagle.cached import CachedHead
from specframe_plugins.drafters.eagle.checkpoint import find_head, load_head
from specframe_plugins.drafters.eagle.diagnosis import diagnose
from specframe_plugins.drafters.eagle.training import train
from specframe_plugins.drafters.eagle.training.options import TrainOptions
from specframe_plugins.drafters.eagle.tree import DynamicTree


@attrs.frozen(slots=True)
class TreeShape:
    """Levels, beams per level, and nodes of a draft tree, the root included."""

    depth: int
    branching: int
    nodes: int


# On a CPU every node of a target pass costs time, so small trees win: of nine shapes this one was the
# fastest with the head for SmolLM2 on two cores (docs/training.md). A GPU has idle units; there the shape is
# the one of the NanoSpec paper.
_CPU_SHAPE = TreeShape(depth=3, branching=3, nodes=8)
_GPU_SHAPE = TreeShape(depth=6, branching=10, nodes=60)


# Pairs of a prompt that the head reads at once: bounds the memory of what lies between its layers.
_CHUNK = 512


@attrs.frozen(slots=True, kw_only=True)
class EagleOptions:
    """Options of the drafter ``eagle``."""

    checkpoint: Path | None = option(
        None, help="directory of an EAGLE-2 head; none: the head that ships for the target"
    )
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

    def shape(self, device: torch.device) -> TreeShape:
        """Return the shape of the draft trees on a device."""
        chosen = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(TreeShape)
            if getattr(self, field.name) is not None
        }
        return attrs.evolve(_CPU_SHAPE if device.type == "cpu" else _GPU_SHAPE, **chosen)


class EagleDrafter:
    """Drafts with an EAGLE head, the target's embedding and the target's LM head.

    Args:
        head: the EAGLE head.
        embed_tokens: the target's embedding; it scales as the target does.
        output_head: the target's LM head.
        shape: of the draft trees.

    Attributes:
        output_head: the target's LM head.
        branching: beams per level and candidates per beam.
        max_depth: the deepest level of its trees.
        max_nodes: the largest N of its trees, the root included.
    """

    def __init__(
        self, head: CachedHead, embed_tokens: nn.Module, output_head: OutputHead, shape: TreeShape
    ) -> None:
        self.output_head = output_head
        self.branching = shape.branching
        self.max_depth = min(shape.depth, shape.nodes - 1)
        candidates = shape.branching + (self.max_depth - 1) * shape.branching**2 if self.max_depth else 0
        self.max_nodes = min(shape.nodes, 1 + candidates)
        self._head = head
        self._embed_tokens = embed_tokens
        self._accepted_ids: tuple[int, ...] = ()

    @torch.inference_mode()
    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request: remember the pairs of the prompt, all but the last, which awaits its token.

        Args:
            prompt_ids: [T] int64.
            features: the target's features at the prompt positions [T, H].
        """
        self.resume(prompt_ids, features, 0)

    @property
    def remembered(self) -> int:
        """How many pairs of prompt and output are remembered; the last one ends with the last root."""
        return self._head.length

    @torch.inference_mode()
    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request whose first ``kept`` pairs are remembered; the others are read chunk by chunk.

        Args:
            prompt_ids: [T] int64.
            features: the target's features from position ``kept`` on [T - kept, H].
            kept: pairs to keep.
        """
        self._head.keep(kept)
        self._accepted_ids = ()
        if self.max_depth:
            pairs = zip(prompt_ids[kept + 1 :].split(_CHUNK), features[:-1].split(_CHUNK), strict=True)
            for token_ids, part in pairs:
                self._head.remember(self._embed(token_ids), self._cast(part))

    @torch.inference_mode()
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``: commit the pairs of the accepted tokens and the root, then grow the tree.

        Args:
            root: the last emitted token.
            features: at the positions committed since the last draft [n, H]; each pairs with the token
                after it, the last one with the root.
            head: log-softmax and top-k over the active set.
            clock: laps backbone, head and tree.
        """
        device = self._head.device
        if not self.max_depth:
            return DraftTree.root_only(root, device)
        self._head.drop_levels()
        committed = torch.tensor([*self._accepted_ids, root], device=device)
        predicted = self._head.extend(self._embed(committed), self._cast(features))
        tree = DynamicTree(root, self.branching, self.max_nodes, device)
        clock.lap("draft_backbone")
        for level in range(1, self.max_depth + 1):
            log_probs, token_ids = head.topk(predicted, self.branching)
            clock.lap("draft_head")
            tree.add_candidates(log_probs, token_ids)
            if level == self.max_depth:
                break
            beams = tree.select_beams()
            clock.lap("draft_tree")
            predicted = self._head.extend_level(
                self._embed(beams.token_ids), predicted[beams.rows], beams.ancestors
            )
            clock.lap("draft_backbone")
        drafted = tree.build()
        clock.lap("draft_tree")
        return drafted

    def commit(self, verdict: Verdict) -> None:
        """Remember the accepted tokens; their pairs are complete at the next draft."""
        self._accepted_ids = verdict.accepted_ids

    def _embed(self, token_ids: Tensor) -> Tensor:
        return self._cast(self._embed_tokens(token_ids))

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._head.dtype)


def create(options: EagleOptions, context: BuildContext) -> EagleDrafter:
    """Return the drafter for a target.

    Raises:
        CheckpointError: the checkpoint is missing, corrupt, or made for another target.
        UsageError: no checkpoint was given and none ships for the target.
    """
    target = context.target
    head = load_head(options.checkpoint or find_head(target), target)
    return EagleDrafter(
        CachedHead(head), target.embed_tokens, target.output_head, options.shape(target.device)
    )


COMPONENT = Component(
    name="eagle",
    summary="EAGLE-2: one decoder layer on the target's features, dynamic draft tree",
    options=EagleOptions,
    factory=create,
    train=train,
    train_options=TrainOptions,
    diagnose=diagnose,
)
