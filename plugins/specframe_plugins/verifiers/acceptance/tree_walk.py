"""A draft tree on the host, and the walk from its root down to the first token that was not drafted."""

from __future__ import annotations

from collections.abc import Callable

import torch

from specframe.contracts.tree import DraftTree, Verdict


class TreeOnHost:
    """Tokens, parents and children of a draft tree as Python numbers.

    Args:
        tree: N nodes.
        columns: its token ids and parents where they were read already; otherwise one host read.

    Attributes:
        token_ids: token of each node.
        parents: parent of each node; -1 for the root and its copies.
        children: nodes below each node, in the tree's order.
    """

    def __init__(self, tree: DraftTree, columns: tuple[list[int], list[int]] | None = None) -> None:
        token_ids, parents = columns or torch.stack([tree.token_ids, tree.parents]).tolist()
        self.token_ids: list[int] = token_ids
        self.parents: list[int] = parents
        self.children: list[list[int]] = [[] for _ in self.token_ids]
        self._child_of: dict[tuple[int, int], int] = {}
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                self.children[parent].append(node)
                self._child_of.setdefault((parent, self.token_ids[node]), node)

    def child(self, node: int, token: int) -> int | None:
        """Return the child of a node that holds a token, or None."""
        return self._child_of.get((node, token))

    def verdict(self, path: list[int], next_token: int) -> Verdict:
        """Return the verdict that accepts ``path``, the root included, and emits ``next_token`` after it."""
        return Verdict(
            path=tuple(path),
            accepted_ids=tuple(self.token_ids[node] for node in path[1:]),
            next_token=next_token,
            path_ends_at_leaf=not self.children[path[-1]],
        )


def walk(tree: TreeOnHost, choose: Callable[[int], int], path: tuple[int, ...] = (0,)) -> Verdict:
    """Go on from the end of ``path`` as long as the token chosen after a node is one of its children.

    Args:
        tree: to walk down.
        choose: returns the token after a node; asked once per node of the path, from the root downwards.
        path: where to begin.
    """
    nodes = list(path)
    while True:
        token = choose(nodes[-1])
        child = tree.child(nodes[-1], token)
        if child is None:
            return tree.verdict(nodes, token)
        nodes.append(child)
