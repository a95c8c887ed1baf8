"""The dynamic draft tree of EAGLE-2 (arXiv 2406.16858, section 4): expand, then keep the best nodes.

Until the tree is cut out at the end, all shapes follow from the options and nothing is read on the host, so
an asynchronous device never waits.
Shapes: b beams, k candidates of each, S drafted nodes that went through the drafter, N tree nodes.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.types import DraftTree


@attrs.frozen(slots=True, eq=False)
class Beams:
    """The nodes of one level that the drafter expands next.

    Attributes:
        token_ids: [b] int64; 0 in a padding beam, whose score is -inf.
        rows: each beam's parent as a row of the level before [b] int64.
        ancestors: which of the S nodes that went through the drafter, this level's b the last, each beam
            attends to: itself and its ancestors below the root [b, S] bool.
    """

    token_ids: Tensor
    rows: Tensor
    ancestors: Tensor


class DynamicTree:
    """Grows level by level by cumulative log-probability, then becomes the tree of the best nodes.

    A child's score never exceeds its parent's, and the parent was added before it. So a stable sort by score
    is a topological order, and its first ``nodes`` entries contain the parent of each.

    Args:
        root: token at node 0.
        branching: beams per level; 1 drafts a chain.
        nodes: the largest number of nodes, the root included.
        device: where the drafter's candidates are.
    """

    def __init__(self, root: int, branching: int, nodes: int, device: torch.device) -> None:
        self._branching = branching
        self._nodes = nodes
        # The candidates of all levels, the root the first; a candidate is known by its number among them.
        self._token_ids = [torch.full((1,), root, device=device)]
        self._parents = [torch.zeros(1, dtype=torch.int64, device=device)]
        self._log_probs = [torch.zeros(1, device=device)]
        self._scores = [torch.zeros(1, device=device)]
        self._beam_numbers = self._parents[0]
        self._beam_scores = self._scores[0]
        self._ancestors = torch.empty(1, 0, dtype=torch.bool, device=device)
        self._eye = torch.eye(branching, dtype=torch.bool, device=device)

    def add_candidates(self, log_probs: Tensor, token_ids: Tensor) -> None:
        """Add the next level: what may follow each beam.

        Args:
            log_probs: of each candidate given its beam [b, k] float32; -inf for padding.
            token_ids: [b, k] int64; anything for padding.
        """
        log_probs = log_probs.clamp(max=0.0)  # rounding may lift a certain token above zero
        self._token_ids.append(token_ids.flatten())
        self._parents.append(self._beam_numbers.repeat_interleave(token_ids.shape[1]))
        self._log_probs.append(log_probs.flatten())
        self._scores.append((self._beam_scores[:, None] + log_probs).flatten())

    def select_beams(self) -> Beams:
        """Keep the best candidates of the last level as its beams."""
        scores, token_ids = self._scores[-1], self._token_ids[-1]
        best = scores.topk(self._branching)
        rows = best.indices // (len(scores) // len(self._beam_scores))
        first = sum(map(len, self._scores[:-1]))
        self._beam_scores = best.values
        self._beam_numbers = best.indices + first
        self._ancestors = torch.cat((self._ancestors[rows], self._eye), dim=1)
        return Beams(token_ids[best.indices].clamp(min=0), rows, self._ancestors)

    def build(self) -> DraftTree:
        """Return the tree of the best candidates, padding left out; reads its size on the host."""
        scores = torch.cat(self._scores)
        best, order = scores.sort(descending=True, stable=True)
        order = order[: min(self._nodes, int((best > -torch.inf).sum()))]
        node_of = torch.empty_like(scores, dtype=torch.int64)
        node_of[order] = torch.arange(len(order), device=order.device)
        parents = node_of[torch.cat(self._parents)[order]]
        parents[0] = -1
        levels = [
            torch.full_like(level, depth, dtype=torch.int64) for depth, level in enumerate(self._scores)
        ]
        return DraftTree(
            token_ids=torch.cat(self._token_ids)[order],
            parents=parents,
            depths=torch.cat(levels)[order],
            log_probs=torch.cat(self._log_probs)[order],
        )
