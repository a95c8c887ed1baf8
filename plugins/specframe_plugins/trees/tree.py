"""The dynamic draft tree of EAGLE-2 (arXiv 2406.16858, section 4): expand, then keep the best nodes.

All levels are written into the same buffers. As long as every level is as wide as it may be, all shapes
follow from the options and nothing is read on the host: a CUDA graph can hold it.
Shapes: b beams, k candidates of each, C candidates of all levels and the root, N tree nodes.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.sampled_tree import Beams
from specframe_plugins.trees.shape import TreeShape


@attrs.frozen(slots=True, eq=False)
class _Level:
    """One level's part of the buffers.

    Attributes:
        token_ids, parents, log_probs, scores: of its candidates, by parent beam [b, k].
        flat_token_ids, flat_scores: the same [b * k].
        first: number of its first candidate.
    """

    token_ids: Tensor
    parents: Tensor
    log_probs: Tensor
    scores: Tensor
    flat_token_ids: Tensor
    flat_scores: Tensor
    first: int


class DynamicTree:
    """Grows level by level by cumulative log-probability, then becomes the tree of the best nodes.

    A child's score never exceeds its parent's, and the parent was added before it. So a stable sort by score
    is a topological order, and its first entries, however many, contain the parent of each.

    Args:
        shape: how large trees may be.
        device: where the drafter's candidates are.
    """

    def __init__(self, shape: TreeShape, device: torch.device) -> None:
        branching, depth = shape.branching, shape.levels
        self._branching = branching
        self._nodes = torch.arange(shape.largest, device=device)
        widths = [1] * bool(depth) + [branching] * (depth - 1)
        total = 1 + branching * sum(widths)
        # The root is candidate 0; a candidate is known by its number among them.
        self._token_ids = torch.zeros(total, dtype=torch.int64, device=device)
        self._parents = torch.zeros(total, dtype=torch.int64, device=device)
        self._log_probs = torch.zeros(total, device=device)
        self._scores = torch.zeros(total, device=device)
        self._node_of = torch.zeros(total, dtype=torch.int64, device=device)
        self._depths = torch.zeros(total, dtype=torch.int64, device=device)
        self._levels: list[_Level] = []
        first = 1
        for width in widths:
            level = slice(first, first + width * branching)
            self._depths[level] = len(self._levels) + 1
            self._levels.append(
                _Level(
                    token_ids=self._token_ids[level].view(width, branching),
                    parents=self._parents[level].view(width, branching),
                    log_probs=self._log_probs[level].view(width, branching),
                    scores=self._scores[level].view(width, branching),
                    flat_token_ids=self._token_ids[level],
                    flat_scores=self._scores[level],
                    first=first,
                )
            )
            first += width * branching
        self._root_number = torch.zeros(1, 1, dtype=torch.int64, device=device)
        self._root_score = torch.zeros(1, 1, device=device)

    def begin(self, root: Tensor) -> None:
        """Start a tree at a token [1] int64."""
        self._root = root
        self._token_ids[:1].copy_(root)
        self._grown, self._candidates = 0, 1
        self._beam_numbers, self._beam_scores = self._root_number, self._root_score

    def add_candidates(self, log_probs: Tensor, token_ids: Tensor) -> None:
        """Add the next level: what may follow each beam.

        Args:
            log_probs: of each candidate given its beam [b, k] float32; -inf for padding.
            token_ids: [b, k] int64; anything for padding.
        """
        level, beams = self._levels[self._grown], len(log_probs)
        self._grown += 1
        self._candidates = level.first + beams * self._branching
        # Rounding may lift a certain token above zero. NaN would sort before the root.
        torch.clamp(log_probs, max=0.0, out=level.log_probs[:beams])
        level.log_probs[:beams].nan_to_num_(nan=-torch.inf, neginf=-torch.inf)
        torch.add(self._beam_scores, level.log_probs[:beams], out=level.scores[:beams])
        level.token_ids[:beams].copy_(token_ids)
        level.parents[:beams].copy_(self._beam_numbers)
        level.scores[beams:].fill_(-torch.inf)

    def best(self) -> Tensor:
        """Return the log-probabilities of the paths to the best candidates of the last level, falling [b]."""
        self._best = self._levels[self._grown - 1].flat_scores.topk(self._branching)
        return self._best.values

    def select_beams(self, width: int | None = None) -> Beams:
        """Keep the best candidates of the last level as its beams, as many as may be or ``width``."""
        level = self._levels[self._grown - 1]
        scores, best = self.best(), self._best.indices
        if width is not None:
            scores, best = scores[:width], best[:width]
        self._beam_scores = scores[:, None]
        self._beam_numbers = (best + level.first)[:, None]
        return Beams(level.flat_token_ids[best].clamp_(min=0), best // self._branching)

    def build(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return token ids, parents, depths and log-probabilities of the N best candidates, each [N].

        N is fixed as long as all levels were added as wide as may be, and copies of the root whose parent is
        -1 stand for candidates that are padding.
        """
        best, order = self._scores[: self._candidates].sort(descending=True, stable=True)
        best = best[: len(self._nodes)]
        order = order[: len(best)]
        self._node_of.index_copy_(0, order, self._nodes[: len(best)])
        padding = best == -torch.inf
        parents = self._node_of[self._parents[order]].masked_fill_(padding, -1)
        parents[:1].fill_(-1)
        return (
            torch.where(padding, self._root, self._token_ids[order]),
            parents,
            self._depths[order].masked_fill_(padding, 0),
            self._log_probs[order].masked_fill_(padding, 0.0),
        )
