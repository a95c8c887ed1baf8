"""The best tokens in the order of float32 logits, without a float32 pass over the vocabulary.

Half-precision logits tie, and then the lower id wins instead of the better one. So the head's own dtype
chooses a few candidates, and float32 decides among them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.ops.row_maxima import row_topk


def best(head: OutputHead, hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Finds the tokens with the largest logits.

    Args:
        head: LM head with V rows.
        hidden: [n, H].
        count: how many candidates, at most V are used.

    Returns:
        Float32 logits [n, count], falling, and the ids [n, count].
    """
    raw = torch.nn.functional.linear(hidden.to(head.weight.dtype), head.weight, head.bias)
    _, ids = row_topk(raw, min(count, head.vocab_size))
    logits = torch.einsum("nh,nkh->nk", hidden.float(), head.weight[ids].float())
    if head.bias is not None:
        logits = logits + head.bias[ids].float()
    logits, order = head.finish(logits).sort(dim=-1, descending=True)
    return logits, ids.gather(1, order)
