"""Verifier ``loose``: greedy, but a mismatch may stay where the target goes along with it. Lossy."""

from __future__ import annotations

import math

import torch
from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits, not_finite
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext
from specframe_plugins.verifiers.acceptance.tree_walk import TreeOnHost, walk
from specframe_plugins.verifiers.components import LooseOptions


class LooseVerifier(Verifier):
    """Follows the target's argmax, and passes a mismatch that the target does not correct; lossy.

    Source: Training-Free Loosely Speculative Decoding (FLy, arXiv 2511.22972): an entropy gate, since a
    target that is nearly certain is taken at its word; and a deferred window, since a target that agrees
    with what follows a mismatch treats it as another wording. Of several drafted mismatches the first in the
    tree's order that passes counts. The defaults are ours, for trees of a few levels.
    """

    def __init__(self, options: LooseOptions) -> None:
        self._options = options

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the path and the target's most likely token after it.

        Raises:
            SpecframeError: the largest logit after a looked-at node is NaN or infinite.
        """
        on_host = TreeOnHost(tree)
        best: dict[int, int] = {}

        def most_likely(node: int) -> int:
            if node not in best:
                highest = target.rows([node]).max(dim=-1)
                if not highest.values.isfinite():
                    raise not_finite(on_host.token_ids[node])
                best[node] = int(highest.indices)
            return best[node]

        def window_holds(node: int) -> bool:
            for _ in range(self._options.window):
                child = on_host.child(node, most_likely(node))
                if child is None:
                    return False
                node = child
            return True

        def choose(node: int) -> int:
            token = most_likely(node)
            children = on_host.children[node]
            if on_host.child(node, token) is None and children and self._undecided(target, node):
                for child in children:
                    if window_holds(child):
                        return on_host.token_ids[child]
            return token

        return walk(on_host, choose)

    def _undecided(self, target: TargetLogits, node: int) -> bool:
        p = target.probabilities(node)
        return float(torch.special.entr(p).sum()) >= self._options.entropy * math.log(len(p))


def create(options: LooseOptions, context: BuildContext) -> LooseVerifier:
    """Return the verifier."""
    return LooseVerifier(options)
