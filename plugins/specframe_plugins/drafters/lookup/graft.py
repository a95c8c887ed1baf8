"""Puts a path into a draft tree."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from specframe.contracts.tree import DraftTree


def graft(tree: DraftTree, token_ids: Sequence[int], log_probs: Sequence[float]) -> DraftTree:
    """Return the tree with a path from its root; nodes that it has already are not added again.

    The tokens are compared on the host. Copies of the root, which pad trees of a fixed size, are left out.

    Args:
        tree: of the drafter's most likely tokens.
        token_ids: of the path below the root [n].
        log_probs: of each given the one before [n].
    """
    parents = tree.parents.tolist()
    nodes = 1 + max((node for node, parent in enumerate(parents) if parent >= 0), default=0)
    known = dict(zip(zip(parents[:nodes], tree.token_ids.tolist(), strict=False), range(nodes), strict=True))
    node = shared = 0
    while shared < len(token_ids) and (node, token_ids[shared]) in known:
        node = known[node, token_ids[shared]]
        shared += 1
    added = len(token_ids) - shared
    device = tree.token_ids.device
    path = (
        torch.tensor(token_ids[shared:], dtype=torch.int64, device=device),
        torch.tensor([node, *range(nodes, nodes + added - 1)][:added], dtype=torch.int64, device=device),
        torch.arange(shared + 1, len(token_ids) + 1, device=device),
        torch.tensor(log_probs[shared:], dtype=torch.float32, device=device),
    )
    columns = (tree.token_ids, tree.parents, tree.depths, tree.log_probs)
    return DraftTree(*(torch.cat([old[:nodes], new]) for old, new in zip(columns, path, strict=True)))
