"""A text read as a decoding loop reads it: in chunks, and through a draft tree of which one path is kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from specframe.contracts.tree import DraftTree
from specframe.model.forward import Forward, append

# Two branches grow in turn, so that a path skips nodes: the text is at nodes 0, 2 and 5.
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


def read_through_a_tree(forward: Forward, ids: Tensor) -> Tensor:
    """Return the last hidden states of a text [T, H], T more than 8, read from the start.

    All but the last eight tokens come in one chunk. Then a tree holds three of these among others of the same
    positions, and the rest follows on the committed path.
    """
    middle = len(ids) - 8
    end = middle + len(_ON_PATH)
    forward.begin(len(ids) + len(_PARENTS))
    before = append(forward, ids[:middle])[0]
    tokens = ids[:1].repeat(len(_PARENTS))  # whatever is beside the path
    tokens[list(_ON_PATH)] = ids[middle:end]
    depths = torch.tensor(_DEPTHS, device=ids.device)
    parents = torch.tensor(_PARENTS, device=ids.device)
    tree = DraftTree(tokens, parents, depths, torch.zeros(len(tokens), device=ids.device))
    inside = forward.run(tokens, forward.committed + depths, tree.ancestor_mask())[0]
    forward.commit(_ON_PATH)
    return torch.cat([before, inside[list(_ON_PATH)], append(forward, ids[end:])[0]])


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
