"""Outputs and scratch of a head launch, allocated once per shape."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe_kernels.head_topk.tile import candidate_blocks, slot_blocks


@attrs.frozen(slots=True, eq=False)
class TopKBuffers:
    """Where the k best of N rows of hidden states go, with room for what the blocks hand to the merge.

    Blocks of candidates come before those of slots, so that what is written follows each other.

    Attributes:
        log_probs: [N, k] float32; -inf where fewer than k tokens are active.
        token_ids: [N, k] int64; -1 there.
        keys: the k best of every block, logit and slot in one number [N, blocks, k] int64.
        peaks: largest logit of every block [N, blocks] float32.
        totals: sum of exp(logit - peak) of every block [N, blocks] float32.
    """

    log_probs: Tensor
    token_ids: Tensor
    keys: Tensor
    peaks: Tensor
    totals: Tensor

    @classmethod
    def allocate(
        cls, n: int, k: int, capacity: int, device: torch.device | str, candidates: int = 0
    ) -> TopKBuffers:
        """Return buffers for ``n`` hidden states over at most ``capacity`` slots, and candidates of each."""
        blocks = slot_blocks(capacity) + candidate_blocks(candidates)
        return cls(
            log_probs=torch.empty(n, k, device=device),
            token_ids=torch.empty(n, k, dtype=torch.int64, device=device),
            keys=torch.empty(n, blocks, k, dtype=torch.int64, device=device),
            peaks=torch.empty(n, blocks, device=device),
            totals=torch.empty(n, blocks, device=device),
        )
