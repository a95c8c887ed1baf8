"""One draft step as a function of buffers: nothing is read on the host, and no shape depends on data.

So it runs eagerly on any device, and a CUDA graph can hold it from the first level to the tree.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from specframe.clock import Phase
from specframe.protocols import GatherBackend
from specframe_plugins.drafters.eagle.cached import CachedLayer
from specframe_plugins.drafters.eagle.inputs import StepInputs
from specframe_plugins.drafters.eagle.tree import DynamicTree


class DraftStep:
    """Commits the accepted pairs and grows the tree below the last of them.

    Args:
        head: the EAGLE head and its cache.
        embed: token ids [n] to embeddings [n, H] in the head's dtype.
        inputs: what changes from step to step.
        tree: its buffers.
        depth: levels of the tree, at least 1.
        branching: candidates per beam.
    """

    def __init__(
        self,
        head: CachedLayer,
        embed: Callable[[Tensor], Tensor],
        inputs: StepInputs,
        tree: DynamicTree,
        depth: int,
        branching: int,
    ) -> None:
        self._head, self._embed, self._inputs, self._tree = head, embed, inputs, tree
        self._depth, self._branching = depth, branching

    def __call__(
        self, gather: GatherBackend, span: int, lap: Callable[[Phase], None]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return token ids, parents, depths and log-probabilities of the tree, each [N].

        Args:
            gather: log-softmax and top-k over the active set.
            span: how many committed pairs are looked at.
            lap: is told what has just been done.
        """
        head, inputs, tree = self._head, self._inputs, self._tree
        predicted = head.commit(self._embed(inputs.token_ids), inputs.features, inputs, span)
        tree.begin(inputs.token_ids.index_select(0, inputs.last))
        lap("draft_backbone")
        for level in range(1, self._depth + 1):
            log_probs, token_ids = gather.topk(head.for_head(predicted), self._branching)
            lap("draft_head")
            tree.add_candidates(log_probs, token_ids)
            if level == self._depth:
                break
            beams = tree.select_beams()
            lap("draft_tree")
            embeddings = self._embed(beams.token_ids)
            predicted = head.extend_level(embeddings, predicted[beams.rows], beams.rows, level)
            lap("draft_backbone")
        return tree.build()
