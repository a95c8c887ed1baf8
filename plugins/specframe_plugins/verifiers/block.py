"""Verifier ``block``: a drafted chain is accepted or rejected as a whole, not token by token."""

from __future__ import annotations

from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext, NoOptions
from specframe_plugins.verifiers.acceptance import drawing
from specframe_plugins.verifiers.acceptance.block import accept_block
from specframe_plugins.verifiers.acceptance.sampled_tree import SampledTreeOnHost


class BlockVerifier(Verifier):
    """Accepts the longest beginning of a chain by the joint probabilities of its tokens.

    Source: Block Verification Accelerates Speculative Decoding (arXiv 2403.10444), algorithm 2; in
    expectation it accepts at least as many tokens as any verification of one chain token by token.
    """

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the accepted part of the chain and the token that follows it.

        Raises:
            SpecframeError: the logits after a node make no distribution.
        """
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])
        nodes = [0, *(sampled.paths[0] if sampled.paths else ())]
        target.prepare(nodes)
        block = accept_block(
            [sampled.token_ids[node] for node in nodes[1:]],
            [target.probabilities(node).double() for node in nodes],
            [sampled.distribution(node) for node in nodes[:-1]],
            generator,
        )
        return sampled.verdict(nodes[: block.accepted + 1], drawing.draw(block.remaining, generator))


def create(options: NoOptions, context: BuildContext) -> BlockVerifier:
    """Return the verifier."""
    return BlockVerifier()
