"""A text read as a decoding loop reads it: in chunks, and through a draft tree of which one path is kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from specframe.contracts.tree import DraftTree
from specframe.model.forward import Forward, append

# Two branches grow in turn, so that a path skips nodes: the text is at nodes 0, 2 and 5. More nodes beside it
# come after node 0.
_PARENTS = (-1, 0, 0, 1, 1, 2, 5)
_ON_PATH = (0, 2, 5)
_DEPTHS = (0, 1, 1, 2, 2, 2, 3)
# What configs call a distance at which attention changes.
_DISTANCES = ("sliding_window", "window_size", "attention_window_size", "attention_chunk_size")
# A text that is longer takes too long to read at every start.
_LONGEST = 512


def read_through_a_tree(forward: Forward, ids: Tensor, beside: int = 0) -> Tensor:
    """Return the last hidden states of a text [T, H], T more than 8, read from the start.

    All but the last eight tokens come in one chunk. Then a tree holds three of these among others of the same
    positions, and the rest follows on the committed path.

    Args:
        forward: what reads.
        ids: the text [T] int64.
        beside: how many more nodes the tree has that are none of the text. As many as a window is long put
            all that came before out of the sight of attention that counts places in the cache.
    """
    middle = len(ids) - 8
    end = middle + len(_ON_PATH)
    on_path = tuple(node + beside if node else 0 for node in _ON_PATH)
    parents = [-1, *[0] * beside, *(parent + beside if parent else 0 for parent in _PARENTS[1:])]
    forward.begin(len(ids) + len(parents))
    before = append(forward, ids[:middle])[0]
    tokens = ids[:1].repeat(len(parents))  # whatever is beside the path
    tokens[list(on_path)] = ids[middle:end]
    depths = torch.tensor([0, *[1] * beside, *_DEPTHS[1:]], device=ids.device)
    tree = DraftTree(
        tokens, torch.tensor(parents, device=ids.device), depths, torch.zeros(len(tokens), device=ids.device)
    )
    inside = forward.run(tokens, forward.committed + depths, tree.ancestor_mask())[0]
    forward.commit(on_path)
    return torch.cat([before, inside[list(on_path)], append(forward, ids[end:])[0]])


def telling_distances(config: Any) -> list[int]:
    """Return the distances at which a model's attention changes, of those a text can be read beyond here."""
    found = {getattr(config, name, None) for name in _DISTANCES}
    return sorted(distance for distance in found if isinstance(distance, int) and 1 < distance <= _LONGEST)
