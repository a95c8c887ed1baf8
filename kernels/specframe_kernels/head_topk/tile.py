"""How the work is cut: fixed by shapes, so that one compiled kernel serves any active size."""

from __future__ import annotations

import attrs
import torch


def block_rows(capacity: int) -> int:
    """Return how many slots one program takes.

    Few, so that a small active set still occupies most of a device; more where there are plenty of blocks
    anyway and the merge would have to read all their candidates.
    """
    return 32 if capacity <= 8192 else 64


# Each hidden state has candidates of its own, so there are more programs than for slots: fewer rows each.
CANDIDATES_PER_BLOCK = 16


def slot_blocks(capacity: int) -> int:
    """Return how many programs take the slots."""
    return -(-capacity // block_rows(capacity))


def candidate_blocks(candidates: int) -> int:
    """Return how many programs take the candidates of one hidden state."""
    return -(-candidates // CANDIDATES_PER_BLOCK)


@attrs.frozen(slots=True)
class Tile:
    """The part of [N, K, H] that one step of one program multiplies.

    Attributes:
        nodes: of N; at least 16, the smallest a matrix instruction takes.
        rows: of K.
        columns: of H.
        stages: such parts on their way from memory at the same time.
    """

    nodes: int
    rows: int
    columns: int
    stages: int

    @classmethod
    def of(cls, n: int, capacity: int, dtype: torch.dtype) -> Tile:
        """Return the tile for N = ``n`` hidden states and ``capacity`` slots.

        All of N up to 64 is in one tile: then a row of the head is read once.
        """
        nodes = 16 if n <= 16 else 32 if n <= 32 else 64
        # Without matrix instructions float32 keeps its operands in registers: narrower.
        if dtype == torch.float32:
            return cls(nodes, block_rows(capacity), columns=32, stages=2)
        return cls(nodes, block_rows(capacity), columns=128, stages=4 if nodes == 16 else 3)
