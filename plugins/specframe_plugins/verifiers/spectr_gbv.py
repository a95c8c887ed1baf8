"""Verifier ``spectr-gbv``: k-sequential selection among several independent paths, taken as blocks."""

from __future__ import annotations

from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext, NoOptions
from specframe_plugins.verifiers.acceptance import drawing
from specframe_plugins.verifiers.acceptance.block import accept_block
from specframe_plugins.verifiers.acceptance.k_sequential import KSequential
from specframe_plugins.verifiers.acceptance.sampled_tree import SampledTreeOnHost


class SpectrGbvVerifier(Verifier):
    """K-sequential selection whose candidates are whole paths, each accepted or rejected as a block.

    Source: the union of SpecTr (arXiv 2310.15141) and block verification (arXiv 2403.10444) is the subject of
    SpecTr-GBV (arXiv 2604.25925). That method changes the target of later steps; this one, derived from the
    first two, does not. Let rho be that of k-sequential selection for the first tokens of k paths. Each path
    is verified as a block that begins with weight 1 / rho instead of 1, which accepts a prefix x of it with
    probability q(x) w(x), so one of the k paths has it accepted with probability c q(x) w(x), where
    c = (1 - (1 - beta)^k) / beta. Below the first level block verification is exact for any weight to begin
    with, and at the first level c q w = c min(p / rho, q) <= p leaves what the recovered token is drawn from.

    What a block leaves over is the target of the later paths that pass where it ended: nobody has looked at
    them, so they are fresh draws. With one path this is ``block``, with one level ``spectr``.
    """

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the accepted path and the token that follows it.

        Raises:
            SpecframeError: the logits after a node make no distribution.
        """
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])
        accepted, remaining = [0], target.probabilities(0).double()
        fresh = [[0, *path] for path in sampled.paths]
        while True:
            depth = len(accepted)
            fresh = [nodes for nodes in fresh if len(nodes) > depth and nodes[:depth] == accepted]
            if not fresh:
                return sampled.verdict(accepted, drawing.draw(remaining, generator))
            remaining /= remaining.sum()
            selection = KSequential.of(remaining, sampled.distribution(accepted[-1]), len(fresh))
            while fresh:
                rest = fresh.pop(0)[depth - 1 :]
                target.prepare(rest[1:])
                block = accept_block(
                    [sampled.token_ids[node] for node in rest[1:]],
                    [remaining, *(target.probabilities(node).double() for node in rest[1:])],
                    [sampled.distribution(node) for node in rest[:-1]],
                    generator,
                    weight=1.0 / selection.rho,
                )
                if block.accepted:
                    accepted = [*accepted, *rest[1 : block.accepted + 1]]
                    remaining = block.remaining
                    break
            else:
                remaining = selection.recovered


def create(options: NoOptions, context: BuildContext) -> SpectrGbvVerifier:
    """Return the verifier."""
    return SpectrGbvVerifier()
