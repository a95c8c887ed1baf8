"""The largest logits of every row; on a CPU the rows are searched block by block.

PyTorch looks for the largest of a row element by element, and at bfloat16 slowly. The maxima of blocks in
float32 come from vector instructions, and only the blocks that can hold a result are looked into: two to six
times as fast over 49,152 and 262,144 columns (docs/performance.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 256
_APART = 16  # columns of a block where many are looked for
# Rows at once: bounds the copy in float32.
_ROWS = 16


def row_max(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maximum of every row [N] and where it stands first [N] int64, for logits [N, V].

    A NaN anywhere in a row is its maximum.
    """
    if not _has_blocks(logits, 1):
        best = logits.max(dim=-1)
        return best.values, best.indices
    if len(logits) <= _ROWS:
        return _max_of_blocks(logits)
    values, indices = zip(*(_max_of_blocks(rows) for rows in logits.split(_ROWS)), strict=True)
    return torch.cat(values), torch.cat(indices)


def row_topk(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of every row, falling [N, k], and where they stand [N, k] int64; logits [N, V].

    Equal logits come in any order. The values are float32 or in the dtype of the logits.
    """
    if not _has_blocks(logits, k):
        best = logits.topk(k, dim=-1)
        return best.values, best.indices
    if len(logits) <= _ROWS:
        return _topk_of_blocks(logits, k)
    values, indices = zip(*(_topk_of_blocks(rows, k) for rows in logits.split(_ROWS)), strict=True)
    return torch.cat(values), torch.cat(indices)


def top_columns(logits: Tensor, k: int) -> Tensor:
    """Return where the k largest of every row stand [N, k] int64, in any order; logits [N, V].

    For large k: of blocks of 16 columns, which lie far apart, the k with the largest maxima hold them all.
    What is said about a row depends on that row alone.
    """
    n, width = logits.shape
    blocks = width // _APART
    if not logits.is_cpu or not logits.is_contiguous() or width % _APART or blocks <= k:
        return logits.topk(k, dim=-1, sorted=False).indices
    by_block = logits.view(n, _APART, blocks)
    best_blocks = by_block.amax(dim=1).topk(k, dim=-1, sorted=False).indices
    candidates = by_block.gather(2, best_blocks[:, None, :].expand(-1, _APART, -1)).flatten(1)
    best = candidates.topk(k, dim=-1, sorted=False).indices
    return best // k * blocks + best_blocks.gather(1, best % k)


def _has_blocks(logits: Tensor, k: int) -> bool:
    n, width = logits.shape
    return (
        n > 0 and logits.is_cpu and logits.is_contiguous() and not width % _BLOCK and width // _BLOCK > 2 * k
    )


def _max_of_blocks(rows: Tensor) -> tuple[Tensor, Tensor]:
    n = len(rows)
    blocks = rows.float().view(n, -1, _BLOCK)
    block = blocks.amax(dim=-1).max(dim=-1).indices
    best = blocks[torch.arange(n), block].max(dim=-1)
    return best.values, block * _BLOCK + best.indices


def _topk_of_blocks(rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # Of the k largest, each is in one of the k blocks with the largest maxima.
    blocks = rows.float().view(len(rows), -1, _BLOCK)
    best_blocks = blocks.amax(dim=-1).topk(k, dim=-1).indices
    candidates = blocks.gather(1, best_blocks[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
    best = candidates.topk(k, dim=-1)
    block = best_blocks.gather(1, best.indices // _BLOCK)
    return best.values, block * _BLOCK + best.indices % _BLOCK
