"""Verifier ``typical``: accepts drafted tokens that are not too unlikely. Lossy."""

from __future__ import annotations

import math

import torch
from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext
from specframe_plugins.verifiers.acceptance import drawing
from specframe_plugins.verifiers.acceptance.tree_walk import TreeOnHost
from specframe_plugins.verifiers.components import TypicalOptions


class TypicalVerifier(Verifier):
    """Accepts a node if the target gives it more than min(threshold, share * exp(-entropy)); lossy.

    Source: Medusa (arXiv 2401.10774), section 2.3.1, typical acceptance. The longest accepted path counts, of
    equally long ones the one that the target finds most likely. The token after it is drawn from the target.
    """

    def __init__(self, options: TypicalOptions) -> None:
        self._options = options

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the longest path of likely enough tokens, and a token drawn after it.

        Raises:
            SpecframeError: the logits after an accepted node make no distribution.
        """
        on_host = TreeOnHost(tree)
        # Node by node from the root: depth and log-probability of what is accepted so far.
        accepted: dict[int, tuple[int, float]] = {0: (0, 0.0)}
        for node, children in enumerate(on_host.children):
            if node in accepted and children:
                p = target.probabilities(node)
                enough = self._enough(float(torch.special.entr(p).sum()))
                depth, log_prob = accepted[node]
                for child in children:
                    probability = float(p[on_host.token_ids[child]])
                    if probability > enough:
                        accepted[child] = (depth + 1, log_prob + math.log(probability))
        last = max(accepted, key=accepted.__getitem__)
        path = [last]
        while path[0]:
            path.insert(0, on_host.parents[path[0]])
        return on_host.verdict(path, drawing.draw(target.probabilities(last), generator))

    def _enough(self, entropy: float) -> float:
        return min(self._options.threshold, self._options.share * math.exp(-entropy))


def create(options: TypicalOptions, context: BuildContext) -> TypicalVerifier:
    """Return the verifier."""
    return TypicalVerifier(options)
