"""Teacher forcing: how far each emitted token is from the target's own maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.model.target import Target


@torch.inference_mode()
def margins(target: Target, prompt_ids: Tensor, token_ids: Tensor) -> Tensor:
    """Return, for every emitted token, the largest logit minus the token's own [n] float32.

    Zero everywhere means that greedy decoding of the same text would choose the same tokens. Half-precision
    passes of different shapes round differently, so tokens that are nearly tied may have small margins.

    Args:
        target: the model that emitted the tokens, in the same dtype.
        prompt_ids: [T] int64.
        token_ids: what was emitted after the prompt [n] int64.
    """
    target.begin(len(prompt_ids) + len(token_ids))
    hidden = target.prefill(torch.cat([prompt_ids, token_ids])).features[len(prompt_ids) - 1 : -1]
    rows = zip(hidden.split(64), token_ids.split(64), strict=True)
    return torch.cat([_margin(target.output_head.logits(part).float(), ids) for part, ids in rows])


def _margin(logits: Tensor, ids: Tensor) -> Tensor:
    return logits.max(dim=-1).values - logits.gather(1, ids[:, None])[:, 0]
