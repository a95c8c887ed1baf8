"""One draft step as a function of buffers.

Without a budget nothing is read on the host and no shape depends on data, so that a CUDA graph can hold it
from the first level to the tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from specframe.contracts.budget import Budget
from specframe.contracts.clock import Phase
from specframe.contracts.protocols import GatherBackend
from specframe_plugins.trees.backbone import Backbone
from specframe_plugins.trees.tree import DynamicTree


class DraftStep:
    """Reads what was emitted and grows the tree below the last of it.

    Args:
        backbone: turns tokens into hidden states.
        tree: its buffers.
        depth: levels of the tree at most, at least 1.
        branching: candidates per beam.
    """

    def __init__(self, backbone: Backbone, tree: DynamicTree, depth: int, branching: int) -> None:
        self._backbone, self._tree, self._depth, self._branching = backbone, tree, depth, branching

    def __call__(
        self, gather: GatherBackend, lap: Callable[[Phase], None], budget: Budget | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return token ids, parents, depths and log-probabilities of the tree, each [N].

        Args:
            gather: log-softmax and top-k over the active set.
            lap: is told what has just been done.
            budget: says which levels to draft, and how wide; a host read each. None drafts all.
        """
        backbone, tree = self._backbone, self._tree
        hidden = backbone.read()
        tree.begin(backbone.root)
        lap("draft_backbone")
        for level in range(1, self._depth + 1):
            log_probs, token_ids = gather.topk(hidden, self._branching)
            lap("draft_head")
            tree.add_candidates(log_probs, token_ids)
            if level == self._depth:
                break
            width = None
            if budget is not None:
                likely = [one for one in tree.best().tolist() if one > -math.inf]  # the rest is padding
                width = min(budget.beams(likely), len(likely)) if likely else 0
            if width == 0:
                break
            beams = tree.select_beams(width)
            lap("draft_tree")
            hidden = backbone.extend(beams.token_ids, beams.rows, level)
            lap("draft_backbone")
        return tree.build()
