"""The nodes of a draft tree on the host, and the tree of the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import attrs
import torch

from specframe.contracts.tree import DraftTree


@attrs.frozen(slots=True)
class Branches:
    """N nodes, copies of the root left out.

    Attributes:
        nodes: their numbers in the tree [N].
        parents: parent of each by position in this list [N]; -1 for the root.
        depths: [N].
        promised: probability of the path to each by the drafter [N].
    """

    nodes: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    promised: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.nodes)

    @classmethod
    def of(cls, tree: DraftTree) -> Self | None:
        """Return the nodes of a tree; a host read on a device. None for what is no tree."""
        nodes, parents, depths, promised = [0], [-1], [0], [1.0]
        position = {0: 0}
        rows = zip(tree.parents.tolist(), tree.log_probs.tolist(), strict=True)
        for node, (parent, log_prob) in enumerate(rows):
            if node == 0 or parent == -1:
                continue
            if parent not in position or not log_prob <= 1e-4:
                return None
            above = position[parent]
            position[node] = len(nodes)
            nodes.append(node)
            parents.append(above)
            depths.append(depths[above] + 1)
            promised.append(promised[above] * math.exp(min(log_prob, 0.0)))
        return cls(tuple(nodes), tuple(parents), tuple(depths), tuple(promised))

    def probabilities(self, calibrated: Callable[[int, float], float]) -> list[float]:
        """Return how likely the path to each node is [N]; none is likelier than its parent's."""
        likely = [1.0]
        for parent, depth, promised in zip(self.parents[1:], self.depths[1:], self.promised[1:], strict=True):
            likely.append(min(calibrated(depth, promised), likely[parent]))
        return likely

    def chosen(self, positions: Sequence[int]) -> Branches:
        """Return some of the nodes, by their positions here, rising; the parent of each is among them."""
        new = {position: at for at, position in enumerate(positions)}
        return Branches(
            tuple(self.nodes[i] for i in positions),
            tuple(-1 if i == 0 else new[self.parents[i]] for i in positions),
            tuple(self.depths[i] for i in positions),
            tuple(self.promised[i] for i in positions),
        )

    def cut(self, tree: DraftTree) -> tuple[DraftTree, Branches]:
        """Return the tree of these nodes, which are some of a tree's, and their numbers in it."""
        if len(self) == len(tree):
            return tree, self
        index = torch.tensor(self.nodes, device=tree.parents.device)
        parents = torch.tensor(self.parents, device=tree.parents.device)
        sources = None if tree.sources is None else tuple(tree.sources[node] for node in self.nodes)
        cut = DraftTree(
            tree.token_ids[index], parents, tree.depths[index], tree.log_probs[index], sources=sources
        )
        return cut, attrs.evolve(self, nodes=tuple(range(len(self))))
