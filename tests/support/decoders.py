"""Texts and trees that forwards run over."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from specframe.contracts.tree import DraftTree
from specframe.model.forward import causal_mask

IDS = torch.randint(3, 101, (40,), generator=torch.Generator().manual_seed(5))


def append(forward: Any, ids: Tensor) -> Tensor:
    positions = forward.committed + torch.arange(len(ids))
    hidden: Tensor = forward.run(ids, positions, causal_mask(len(ids), ids.device))[0]
    forward.commit(tuple(range(len(ids))))
    return hidden


def random_tree(nodes: int, seed: int) -> DraftTree:
    generator = torch.Generator().manual_seed(seed)
    parents, depths = [-1], [0]
    for node in range(1, nodes):
        parents.append(int(torch.randint(max(0, node - 4), node, (), generator=generator)))
        depths.append(depths[parents[-1]] + 1)
    return DraftTree(
        token_ids=torch.randint(3, 101, (nodes,), generator=generator),
        parents=torch.tensor(parents),
        depths=torch.tensor(depths),
        log_probs=torch.zeros(nodes),
    )


def path_to(tree: DraftTree, node: int) -> tuple[int, ...]:
    path = [node]
    while path[0]:
        path.insert(0, int(tree.parents[path[0]]))
    return tuple(path)


def tree_of_levels(depth: int, width: int) -> DraftTree:
    """Return a tree of the root and ``depth`` levels of ``width`` nodes, level by level."""
    parents = torch.randint(width, (depth, width), generator=torch.Generator().manual_seed(2))
    parents += torch.arange(depth)[:, None] * width - width + 1
    parents[0] = 0
    depths = torch.arange(1, depth + 1).repeat_interleave(width)
    return DraftTree(
        token_ids=torch.randint(3, 101, (1 + depth * width,), generator=torch.Generator().manual_seed(3)),
        parents=torch.cat((torch.tensor([-1]), parents.flatten())),
        depths=torch.cat((torch.tensor([0]), depths)),
        log_probs=torch.zeros(1 + depth * width),
    )
