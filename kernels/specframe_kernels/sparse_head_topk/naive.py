"""``sparse_head_topk`` and its logits mode with plain operations, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def sparse_head_logits(
    hidden: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    count: Tensor,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> Tensor:
    """Return logits by slot [N, capacity] float64, -inf from ``count`` on.

    Args:
        hidden: [N, H].
        packed: [capacity, H]; rows from ``count`` on may hold anything.
        bias: [capacity], or None.
        count: number of active tokens, [] int64.
        scale: factor on the logits.
        softcap: bound of the logits; None for none.
    """
    active = int(count)
    raw = hidden.double() @ packed[:active].double().T
    if bias is not None:
        raw += bias[:active].double()
    raw *= scale
    if softcap is not None:
        raw = softcap * torch.tanh(raw / softcap)
    return torch.nn.functional.pad(raw, (0, packed.shape[0] - active), value=-torch.inf)


def sparse_head_topk(
    hidden: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    count: Tensor,
    token_of: Tensor | None,
    k: int,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens.

    The log-softmax is over the active set. Of equal logits the lowest slot comes first. With fewer than k
    active tokens the last columns are -inf and -1.

    Args:
        hidden: [N, H].
        packed: [capacity, H]; rows from ``count`` on may hold anything.
        bias: [capacity], or None.
        count: number of active tokens, [] int64.
        token_of: token id in each slot [capacity] int32; None where slots are token ids.
        k: how many.
        scale: factor on the logits.
        softcap: bound of the logits; None for none.
    """
    logits = sparse_head_logits(hidden, packed, bias, count, scale=scale, softcap=softcap)
    active = int(count)
    best, slots = torch.sort(logits[:, :active], dim=-1, descending=True, stable=True)
    log_probs = best[:, :k] - logits[:, :active].logsumexp(dim=-1, keepdim=True)
    ids = slots[:, :k] if token_of is None else token_of[slots[:, :k]].long()
    missing = k - ids.shape[1]
    return (
        torch.nn.functional.pad(log_probs, (0, missing), value=-torch.inf).float(),
        torch.nn.functional.pad(ids, (0, missing), value=-1),
    )
