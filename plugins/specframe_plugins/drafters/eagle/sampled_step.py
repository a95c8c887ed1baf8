"""One draft step that draws its tree from the head instead of taking the most likely tokens."""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator, Tensor

from specframe.clock import Phase
from specframe.protocols import GatherBackend
from specframe.sampled_tree import SampledTree
from specframe.types import DraftTree
from specframe_plugins.drafters.eagle.cached import CachedLayer
from specframe_plugins.drafters.eagle.inputs import StepInputs
from specframe_plugins.drafters.eagle.shape import TreeSampling


class SampledStep:
    """Commits the accepted pairs and draws the tree below the last of them.

    Args:
        head: the EAGLE head and its cache, made for the shape's beams.
        embed: token ids [n] to embeddings [n, H] in the head's dtype.
        inputs: what changes from step to step.
        sampling: how large the trees are, at least one level, and how they are drawn.
    """

    def __init__(
        self,
        head: CachedLayer,
        embed: Callable[[Tensor], Tensor],
        inputs: StepInputs,
        sampling: TreeSampling,
    ) -> None:
        self._head, self._embed, self._inputs, self._sampling = head, embed, inputs, sampling

    def draw_from(self, generator: Generator, active_ids: Callable[[int], Tensor]) -> None:
        """Begin a request, as in ``DrawsTrees``."""
        self._generator, self._active_ids = generator, active_ids

    def __call__(
        self, gather: GatherBackend, span: int, root: int, lap: Callable[[Phase], None]
    ) -> DraftTree:
        """Return the tree below ``root``.

        Args:
            gather: logits over the active set.
            span: how many committed pairs are looked at.
            root: token at node 0.
            lap: is told what has just been done.
        """
        head, inputs, depth = self._head, self._inputs, len(self._sampling.shape.level_sizes)
        predicted = head.commit(self._embed(inputs.token_ids), inputs.features, inputs, span)
        tree = SampledTree(root, self._sampling.shape, self._sampling.temperature, self._generator)
        lap("draft_backbone")
        for level in range(1, depth + 1):
            logits = gather.logits(head.for_head(predicted))
            lap("draft_head")
            if logits.shape[1] == 0:
                break  # nothing is active, so nothing can be drawn
            tree.add_level(logits, self._active_ids(logits.shape[1]))
            if level == depth:
                break
            beams = tree.select_beams()
            lap("draft_tree")
            embeddings = self._embed(beams.token_ids)
            predicted = head.extend_level(embeddings, predicted[beams.rows], beams.rows, level)
            lap("draft_backbone")
        return tree.build()
