"""One draft token, or one row of logits, out of what every rank has for its own rows of the LM head.

Each rank holds its part of the active set. All ranks see the same logits of the target, so they admit the
same tokens, each those that it has rows for; and all end up with the same draft.
"""

from __future__ import annotations

import torch
from torch import Tensor
from vllm.distributed import tensor_model_parallel_all_gather, tensor_model_parallel_all_reduce


def best_of_ranks(values: Tensor, token_ids: Tensor, ranks: int) -> Tensor:
    """Return the token with the largest logit on any rank [N] int64; the lowest rank wins a tie.

    Args:
        values: the largest logit on this rank [N] float32; -inf where it has no active token.
        token_ids: whose it is [N] int64.
        ranks: how many there are.
    """
    # An id is exact in float32 up to 2**24, and one message is faster than two.
    pair = torch.stack((values, token_ids.float()), dim=-1)
    pairs = tensor_model_parallel_all_gather(pair, dim=-1).view(len(values), ranks, 2)
    best = pairs[:, :, 0].argmax(dim=-1, keepdim=True)
    tokens: Tensor = pairs[:, :, 1].gather(1, best)[:, 0].long()
    return tokens


def rows_of_ranks(logits: Tensor, rows_per_rank: int, total: int) -> Tensor:
    """Return the logits of all rows [N, total], for this rank's [N, rows]; ranks hold them in order."""
    padding = rows_per_rank - logits.shape[1]
    if padding:
        logits = torch.nn.functional.pad(logits, (0, padding), value=-torch.inf)
    rows: Tensor = tensor_model_parallel_all_gather(logits, dim=-1)[:, :total]
    return rows


def sum_of_ranks(counts: Tensor) -> Tensor:
    """Return the sum of what every rank counted, of any shape and in its dtype; exact up to 2**24."""
    total: Tensor = tensor_model_parallel_all_reduce(counts.float())
    return total.to(counts.dtype)
