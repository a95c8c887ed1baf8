"""Verifier ``gbv``: the most promising of several paths is chosen, then verified as a block."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext, NoOptions
from specframe_plugins.verifiers.acceptance import drawing
from specframe_plugins.verifiers.acceptance.block import accept_block
from specframe_plugins.verifiers.acceptance.sampled_tree import SampledTreeOnHost


class GbvVerifier(Verifier):
    """Chooses the first path in an order that the distributions alone decide, and verifies it as a block.

    Source: Greedy Multi-Path Block Verification (arXiv 2602.16961): path selection, then block verification
    against the distribution of the selected path. After every node, tokens are ranked by p / q, equal ones
    by id; of the drawn paths the one whose tokens rank highest, from the root downwards, is selected. Let a
    be the probability that a drawn path ranks below every path through a node, and b that it passes through
    it. The selected one of P paths passes through the node with probability (a + b)^P - a^P, so its next
    token follows the ratios of that number for the children and for the node. This is what the block is
    verified against. Any order that ignores the draws is exact; the one by p / q is our choice.
    """

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the accepted part of the selected path and the token that follows it.

        Raises:
            SpecframeError: the logits after a node of the selected path make no distribution.
        """
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])
        paths = sampled.paths
        below, through = 0.0, 1.0
        nodes, targets, selected = [0], [target.probabilities(0).double()], list[Tensor]()
        for depth in range(len(paths[0]) if paths else 0):
            p, q = targets[-1], sampled.distribution(nodes[-1])
            order = torch.where(q > 0.0, p / q, -1.0).sort(stable=True).indices
            rank_of = torch.empty_like(order)
            rank_of[order] = torch.arange(len(order), device=order.device)
            lower = torch.empty_like(q)
            lower[order] = q[order].cumsum(dim=0) - q[order]
            a, b = below + through * lower, through * q
            selected.append(_selection(a, b, len(sampled.paths)))
            children = list(dict.fromkeys(path[depth] for path in paths))
            tokens = [sampled.token_ids[child] for child in children]
            best = int(rank_of[torch.tensor(tokens, device=order.device)].argmax())
            child, token = children[best], tokens[best]
            paths = tuple(path for path in paths if path[depth] == child)
            below, through = float(a[token]), float(b[token])
            # Only ratios matter; without this they would leave the range of float64.
            below, through = below / (below + through), through / (below + through)
            nodes.append(child)
            targets.append(target.probabilities(child).double())
        block = accept_block([sampled.token_ids[node] for node in nodes[1:]], targets, selected, generator)
        return sampled.verdict(nodes[: block.accepted + 1], drawing.draw(block.remaining, generator))


def _selection(a: Tensor, b: Tensor, paths: int) -> Tensor:
    """Return (a + b)^P - a^P, normalised [V], without subtracting what is nearly equal."""
    total = torch.zeros_like(a)
    for power in range(paths):
        total += (a + b) ** (paths - 1 - power) * a**power
    weights = b * total
    return weights / weights.sum()


def create(options: NoOptions, context: BuildContext) -> GbvVerifier:
    """Return the verifier."""
    return GbvVerifier()
