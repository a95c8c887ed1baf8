"""What all drafters of trees have in common: how large their trees are, and how they grow over a backbone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from specframe.contracts.budget import Budget
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree
from specframe_plugins.trees.backbone import Backbone
from specframe_plugins.trees.sampled_step import SampledStep
from specframe_plugins.trees.shape import TreeSampling, TreeShape
from specframe_plugins.trees.step import DraftStep
from specframe_plugins.trees.tree import DynamicTree


class TreeDrafter(Drafter):
    """Grows trees of the most likely tokens, or draws them.

    Args:
        backbone: turns tokens into hidden states; made for the beams and levels of the trees.
        output_head: the LM head.
        shape: of the draft trees.
        sampling: draws the trees; None takes the most likely tokens.
        device: where the backbone is.

    Attributes:
        output_head: the LM head.
        branching: beams per level and candidates per beam.
        max_depth: the deepest level of its trees.
        max_nodes: N of its trees, the root included.
    """

    can_pause = True

    def __init__(
        self,
        backbone: Backbone,
        output_head: OutputHead,
        shape: TreeShape,
        sampling: TreeSampling | None,
        device: torch.device,
    ) -> None:
        self.output_head = output_head
        self.branching = shape.branching if sampling is None else 1
        self.max_depth = shape.levels
        self.max_nodes = shape.largest if sampling is None else sampling.shape.max_nodes
        self._budget: Budget | None = None
        self._sampled_step: SampledStep | None = None
        if sampling is not None:
            self._sampled_step = SampledStep(backbone, sampling)
            return
        self._step = DraftStep(backbone, DynamicTree(shape, device), self.max_depth, self.branching)

    def draft_within(self, budget: Budget) -> None:
        """Take what says how much is worth drafting; what is drawn is drawn whole."""
        self._budget = budget

    def sample_from(self, generator: Generator, active_ids: Callable[[int], Tensor]) -> None:
        """Take what trees are drawn from; trees of the most likely tokens draw nothing.

        Args:
            generator: the only source of randomness.
            active_ids: returns the tokens of the first K slots [K] int64.
        """
        if self._sampled_step is not None:
            self._sampled_step.sample_from(generator, active_ids)

    def _grow(self, root: int, gather: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Return the tree below ``root``, the last token that the backbone was given to read."""
        if self._sampled_step is not None:
            tree = self._sampled_step(gather, root, clock.lap)
        else:
            tree = DraftTree(*self._step(gather, clock.lap, self._budget))
        clock.lap("draft_tree")
        return tree
