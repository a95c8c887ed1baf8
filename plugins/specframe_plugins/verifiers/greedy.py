"""Verifier ``greedy``: accepts exactly the tokens that the target's argmax would have emitted."""

from __future__ import annotations

import torch
from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits, not_finite
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext, NoOptions
from specframe_plugins.verifiers.acceptance.tree_walk import TreeOnHost, walk


class GreedyVerifier(Verifier):
    """Walks the draft tree along the target's argmax.

    Source: SpecInfer (arXiv 2305.09781), section 4.3, greedy decoding. Widening to float32 is exact and
    keeps the order, so the argmax in the logits' own dtype equals the argmax in float32; of equal logits
    the first wins, as in ``torch.argmax``.
    """

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the longest path that the target's argmax follows, with one host read.

        With logits processors, such as a repetition penalty, only the nodes on the path are processed.

        Raises:
            SpecframeError: the largest logit after a node of the path is NaN or infinite.
        """
        if target.processed_at_all:
            return walk(TreeOnHost(tree), lambda node: self._best(tree, target, node))
        values, best = target.best()
        # A NaN anywhere in a row is the row's maximum, so N values stand for all N x V of them.
        columns = torch.stack([tree.token_ids, tree.parents, best, values.isfinite().long()])
        token_ids, parents, chosen, finite = columns.tolist()

        def choose(node: int) -> int:
            if not finite[node]:
                raise not_finite(token_ids[node])
            return int(chosen[node])

        return walk(TreeOnHost(tree, (token_ids, parents)), choose)

    def _best(self, tree: DraftTree, target: TargetLogits, node: int) -> int:
        best = target.rows([node]).max(dim=-1)
        if not best.values.isfinite():
            raise not_finite(int(tree.token_ids[node]))
        return int(best.indices)


def create(options: NoOptions, context: BuildContext) -> GreedyVerifier:
    """Return the verifier."""
    return GreedyVerifier()
