"""Verifier ``sampling``: draws from the target at every node it visits, so any draft tree is exact."""

from __future__ import annotations

import torch
from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits, not_finite
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext, NoOptions
from specframe_plugins.verifiers.acceptance import drawing
from specframe_plugins.verifiers.acceptance.tree_walk import TreeOnHost, walk


class SamplingVerifier(Verifier):
    """Draws the target's token after each visited node; a drawn token that is a child is accepted.

    Source: SpecInfer (arXiv 2305.09781), section 4.3, naive sampling. Every emitted token is a draw from the
    target's own distribution, whatever was drafted; the drafter's probabilities are not looked at. For a tree
    of the drafter's most likely tokens, which are no sample of anything, there is nothing else to look at.
    """

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the path that the target's draws follow.

        On a CPU the distribution is computed node by node along the path. Elsewhere every visit would wait
        for the device, so one token is drawn after each node at once.

        Raises:
            SpecframeError: the logits after a visited node make no distribution.
        """
        on_host = TreeOnHost(tree)
        if target.raw.is_cpu:
            return walk(on_host, lambda node: drawing.draw(target.probabilities(node), generator))
        tokens = drawing.draw_rows(torch.softmax(target.rows(range(len(tree))), dim=-1), generator)

        def choose(node: int) -> int:
            if tokens[node] < 0:
                raise not_finite(on_host.token_ids[node])
            return tokens[node]

        return walk(on_host, choose)


def create(options: NoOptions, context: BuildContext) -> SamplingVerifier:
    """Return the verifier."""
    return SamplingVerifier()
