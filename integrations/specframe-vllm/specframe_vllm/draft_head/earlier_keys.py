"""Keys of the position before, by the slots of vLLM's paged cache.

An induction head attends to the pair after one that is like its own, so its key at position t is that of
t - 1. The paged cache holds keys where they are looked for; what the next position will need is kept beside
it, in a buffer with a row per slot. A row is written when the token of its slot is computed, so rejected
tokens, chunks of a prompt, preemption and prefixes that requests share by their blocks need no care.

What vLLM writes into slots without computing their tokens has no row here. Keys that a KV connector brings,
those that were offloaded included, are refused (``refusals``). vLLM 0.32 copies blocks for models with Mamba
layers alone, where a prefix ends inside a block; the first key after such a prefix is then another one, which
changes drafts and no output.

The buffer is as large as the cache and there from the start, and every shape follows from the batch's, so a
graph may hold it.

Shapes: n tokens of a batch, B requests, S slots, W width of the keys of all induction heads.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Placement(Protocol):
    """What attention metadata say about where a batch's tokens stand.

    Attributes:
        slot_mapping: slot of each token; -1 for tokens that are not kept [n or fewer].
        block_table: blocks of each request, in order [B, blocks].
        query_start_loc: where each request's tokens begin, and where the last one's end [B + 1].
    """

    slot_mapping: Tensor
    block_table: Tensor
    query_start_loc: Tensor


class EarlierKeys:
    """The buffer.

    Args:
        width: W.
        dtype: of the keys.

    Attributes:
        rows: a key per slot, and a row for tokens that are not kept [S + 1, W]; None until ``allocate``.
    """

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        self._width, self._dtype = width, dtype
        self._block_size = 1
        self.rows: Tensor | None = None

    def allocate(self, blocks: int, block_size: int, device: torch.device) -> None:
        """Make room for every slot of a paged cache."""
        self._block_size = block_size
        self.rows = torch.zeros(blocks * block_size + 1, self._width, dtype=self._dtype, device=device)

    def shift(self, keys: Tensor, positions: Tensor, placement: Placement) -> Tensor:
        """Keep the keys of a batch [n, W], and return those of the positions before [n, W].

        Args:
            keys: not rotated.
            positions: of the tokens [n].
            placement: where they stand; tokens that it leaves out get any keys.
        """
        assert self.rows is not None
        slots, table = placement.slot_mapping, placement.block_table
        n = min(len(keys), len(slots))
        beyond, size = len(self.rows) - 1, self._block_size
        self.rows.index_copy_(0, torch.where(slots[:n] < 0, beyond, slots[:n]).long(), keys[:n])
        # Of padded tokens behind the last request, any request will do.
        request = torch.searchsorted(
            placement.query_start_loc[1:], self._arange(placement.query_start_loc, n), right=True
        ).clamp_(max=len(table) - 1)
        before = (positions[:n] - 1).clamp(min=0)
        column = (before // size).clamp_(max=table.shape[1] - 1)
        earlier = self.rows.index_select(0, table[request, column].long() * size + before % size)
        earlier = torch.where((positions[:n] == 0)[:, None], 0, earlier)
        return earlier if n == len(keys) else torch.cat((earlier, keys[n:]))

    @staticmethod
    def _arange(like: Tensor, n: int) -> Tensor:
        return torch.arange(n, dtype=like.dtype, device=like.device)
