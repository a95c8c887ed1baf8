"""``candidate_head_topk`` with plain operations, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def candidate_head_topk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    candidates: Tensor,
    active: Tensor,
    k: int,
    *,
    log_sums: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [N, k] float32 and rows [N, k] int64 of the best of both.

    The log-softmax is over the active rows and those candidates that are not active. Of equal logits active
    rows come first, by slot, and then candidates by column. Where there are fewer than k of both the last
    columns are -inf and -1.

    Args:
        hidden: [N, H].
        weight: full LM head [V, H].
        bias: [V], or None.
        candidates: rows of each hidden state, none twice [N, C] int64; outside the head for none.
        active: active rows, by slot [K] int64.
        k: how many.
        log_sums: log-sum-exp to take log-probabilities by [N]; None for that of both.
        scale: factor on the logits.
        softcap: bound of the logits; None for none.
    """
    log_probs = torch.full((len(hidden), k), -torch.inf)
    rows = torch.full((len(hidden), k), -1)
    for state in range(len(hidden)):
        inside = (candidates[state] >= 0) & (candidates[state] < len(weight))
        others = candidates[state][inside]
        union = torch.cat([active, others[~torch.isin(others, active)]])
        logits = weight[union].double() @ hidden[state].double()
        if bias is not None:
            logits += bias[union].double()
        logits *= scale
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        total = logits.logsumexp(0) if log_sums is None else log_sums[state].double()
        best, order = torch.sort(logits, descending=True, stable=True)
        found = min(k, len(union))
        log_probs[state, :found] = (best[:found] - total).float()
        rows[state, :found] = union[order[:found]]
    return log_probs.to(hidden.device), rows.to(hidden.device)
