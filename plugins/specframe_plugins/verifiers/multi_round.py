"""Verifier ``multi-round``: the children of a node are offered one after the other (recursive rejection)."""

from __future__ import annotations

from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext, NoOptions
from specframe_plugins.verifiers.acceptance import drawing
from specframe_plugins.verifiers.acceptance.sampled_tree import SampledTreeOnHost
from specframe_plugins.verifiers.acceptance.tree_walk import walk


class MultiRoundVerifier(Verifier):
    """Accepts a child x with probability min(1, p(x) / q(x)); else p loses q and the next child is offered.

    After every child was rejected, what is left of p is drawn from. Where children are drawn without
    replacement, q loses each rejected child.

    Sources: SpecInfer (arXiv 2305.09781), algorithm 2, multi-step speculative sampling, for independent
    children; recursive speculative decoding (arXiv 2402.14160), recursive rejection sampling, for children
    drawn without replacement. Children are drawn given their parent alone, so a token that was drawn as
    recovered token and happens to be a child is gone on from, too.
    """

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the accepted path and the token that follows it.

        Raises:
            SpecframeError: the logits after a visited node make no distribution.
        """
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])

        def choose(node: int) -> int:
            p, candidates = target.probabilities(node).double(), sampled.candidates(node)
            if not candidates:
                return drawing.draw(p, generator)
            p, q = p / p.sum(), sampled.distribution(node)
            for token in candidates:
                if drawing.accepts(float(p[token]) / float(q[token]), generator):
                    return token
                rest = (p - q).clamp_(min=0.0)
                left = float(rest.sum())
                if left == 0.0:
                    return token  # p equals q, up to rounding: no child can be rejected
                p = rest.div_(left)
                if sampled.without_replacement:
                    q[token] = 0.0
                    q /= q.sum()
            return drawing.draw(p, generator)

        return walk(sampled, choose)


def create(options: NoOptions, context: BuildContext) -> MultiRoundVerifier:
    """Return the verifier."""
    return MultiRoundVerifier()
