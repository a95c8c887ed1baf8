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
_DISTANCES = (
    "sliding_window",
    "window_size",
    "attention_window_size",
    "attention_chunk_size",
    "keep_window_size",
)
# A text that is longer takes too long to read at every start: of a small model it may be longer.
_LONGEST = 512
_LONGEST_OF_SMALL = 4096
_WEIGHTS_READ = 1 << 36
# Nodes beside a text that are as good as any number: they hide that many tokens of a window.
MOST_BESIDE = 512


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


def telling_lengths(config: Any, parameters: int) -> dict[int, int]:
    """Return, for each distance that a config names, the length of a text that shows the attention beyond it.

    Args:
        config: of the model's text part.
        parameters: how many numbers its weights are.
    """
    longest = max(_LONGEST, min(_LONGEST_OF_SMALL, _WEIGHTS_READ // parameters))
    positions = getattr(config, "max_position_embeddings", None) or longest + 16
    found = {getattr(config, name, None) for name in _DISTANCES}
    distances = sorted(one for one in found if isinstance(one, int) and 1 < one <= longest)
    lengths = {distance: min(distance + 16, positions) for distance in distances}
    return {distance: length for distance, length in lengths.items() if length > max(distance, 8)}
