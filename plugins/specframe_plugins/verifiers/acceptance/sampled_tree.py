"""A sampled draft tree as verifiers need it: who was drawn where, and from which distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.tree import DraftTree
from specframe.errors import SpecframeError
from specframe_plugins.verifiers.acceptance.tree_walk import TreeOnHost


class SampledTreeOnHost(TreeOnHost):
    """A draft tree on the host, with the distributions that its tokens were drawn from.

    Args:
        tree: N nodes; with ``sampled_from``, or the root alone.
        vocab_size: V of the target.

    Attributes:
        paths: nodes of each path in the order of drawing, root excluded; none without replacement.

    Raises:
        SpecframeError: the tree has drafted nodes and does not say what they were drawn from.
    """

    def __init__(self, tree: DraftTree, vocab_size: int) -> None:
        super().__init__(tree)
        if tree.sampled_from is None and len(tree) > 1:
            raise SpecframeError(
                "the drafter returned a tree without what it was drawn from; use --verifier sampling"
            )
        self._from, self._vocab_size = tree.sampled_from, vocab_size
        self.paths = tree.sampled_from.paths if tree.sampled_from is not None else ()

    @property
    def without_replacement(self) -> bool:
        """Whether no two children of a node can hold the same token."""
        return self._from is not None and self._from.kind == "without-replacement"

    def candidates(self, node: int) -> list[int]:
        """Return the tokens drawn after a node, in their order; independent paths may repeat one."""
        if not self.paths:
            return [self.token_ids[child] for child in self.children[node]]
        above = [(0, *path[:-1]) for path in self.paths]
        return [
            self.token_ids[path[nodes.index(node)]]
            for nodes, path in zip(above, self.paths, strict=True)
            if node in nodes
        ]

    def distribution(self, node: int) -> Tensor:
        """Return what the children of a node were drawn from [V] float64; zero outside the active set."""
        assert self._from is not None
        row = self._from.probabilities[self._from.rows[node]].double()
        return torch.zeros(self._vocab_size, dtype=torch.float64, device=row.device).index_copy_(
            0, self._from.token_ids, row / row.sum()
        )
