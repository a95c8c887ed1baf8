"""Verifier ``spectr``: of several independent candidates, one is taken by k-sequential selection (SpecTr)."""

from __future__ import annotations

from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext, NoOptions
from specframe_plugins.verifiers.acceptance import drawing
from specframe_plugins.verifiers.acceptance.k_sequential import KSequential
from specframe_plugins.verifiers.acceptance.sampled_tree import SampledTreeOnHost
from specframe_plugins.verifiers.acceptance.tree_walk import walk


class SpectrVerifier(Verifier):
    """Accepts each of k candidates x with probability min(1, p(x) / (rho q(x))) until one is accepted.

    Source: SpecTr (arXiv 2310.15141), section 5, algorithm 2 (K-SEQ); the numbers are in ``KSequential``. The
    paths through the emitted token are the candidates of the next level.
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
            selection = KSequential.of(p, q, len(candidates))
            for token in candidates:
                if drawing.accepts(float(p[token] / (selection.rho * q[token])), generator):
                    return token
            return drawing.draw(selection.recovered, generator)

        return walk(sampled, choose)


def create(options: NoOptions, context: BuildContext) -> SpectrVerifier:
    """Return the verifier."""
    return SpectrVerifier()
