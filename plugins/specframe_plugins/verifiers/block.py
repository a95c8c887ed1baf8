"""Verifier ``block``: a drafted chain is accepted or rejected as a whole, not token by token."""

from __future__ import annotations

import attrs
from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext, Component
from specframe_plugins.verifiers.acceptance import drawing
from specframe_plugins.verifiers.acceptance.block_acceptance import accept_block
from specframe_plugins.verifiers.acceptance.drawn_tree import DrawnTree
from specframe_plugins.verifiers.acceptance.supported import needs_temperature


@attrs.frozen(slots=True)
class BlockOptions:
    """``block`` has no options."""


class BlockVerifier(Verifier):
    """Accepts the longest beginning of a chain by the joint probabilities of its tokens.

    Source: Block Verification Accelerates Speculative Decoding (arXiv 2403.10444), algorithm 2; in
    expectation it accepts at least as many tokens as any verification of one chain token by token.
    """

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the accepted part of the chain and the token that follows it.

        Args:
            tree: a chain drawn from the drafter.
            target: what the target says after each node.
            generator: the only source of randomness.

        Raises:
            SpecframeError: the logits after a node make no distribution.
        """
        drawn = DrawnTree(tree, target.raw.shape[1])
        nodes = [0, *(drawn.paths[0] if drawn.paths else ())]
        target.prepare(nodes)
        block = accept_block(
            [drawn.token_ids[node] for node in nodes[1:]],
            [target.probabilities(node).double() for node in nodes],
            [drawn.distribution(node) for node in nodes[:-1]],
            generator,
        )
        return drawn.verdict(nodes[: block.accepted + 1], drawing.draw(block.remaining, generator))


def _build(options: BlockOptions, context: BuildContext) -> BlockVerifier:
    return BlockVerifier()


COMPONENT = Component(
    name="block",
    summary="exact sampling from a chain that is accepted or rejected as a block (block verification)",
    options=BlockOptions,
    factory=_build,
    supports=needs_temperature,
    trees=("chain",),
)
