"""One draft step that draws its tree from the head instead of taking the most likely tokens."""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator, Tensor

from specframe.contracts.clock import Phase
from specframe.contracts.protocols import GatherBackend
from specframe.contracts.sampled_tree import SampledTree
from specframe.contracts.tree import DraftTree
from specframe_plugins.trees.backbone import Backbone
from specframe_plugins.trees.shape import TreeSampling


class SampledStep:
    """Reads what was emitted and draws the tree below the last of it.

    Args:
        backbone: turns tokens into hidden states, made for the shape's beams.
        sampling: how large the trees are, at least one level, and how they are drawn.
    """

    def __init__(self, backbone: Backbone, sampling: TreeSampling) -> None:
        self._backbone, self._sampling = backbone, sampling

    def sample_from(self, generator: Generator, active_ids: Callable[[int], Tensor]) -> None:
        """Begin a request, as in ``Drafter``."""
        self._generator, self._active_ids = generator, active_ids

    def __call__(self, gather: GatherBackend, root: int, lap: Callable[[Phase], None]) -> DraftTree:
        """Return the tree below ``root``.

        Args:
            gather: logits over the active set.
            root: token at node 0.
            lap: is told what has just been done.
        """
        depth = len(self._sampling.shape.level_sizes)
        hidden = self._backbone.read()
        tree = SampledTree(root, self._sampling.shape, self._sampling.temperature, self._generator)
        lap("draft_backbone")
        for level in range(1, depth + 1):
            logits = gather.logits(hidden)
            lap("draft_head")
            if logits.shape[1] == 0:
                break  # nothing is active, so nothing can be drawn
            tree.add_level(logits, self._active_ids(logits.shape[1]))
            if level == depth:
                break
            beams = tree.select_beams()
            lap("draft_tree")
            hidden = self._backbone.extend(beams.token_ids, beams.rows, level)
            lap("draft_backbone")
        return tree.build()
