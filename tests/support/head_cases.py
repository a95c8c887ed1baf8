"""Packed heads full of poison, and how close a result has to be."""

from __future__ import annotations

import attrs
import torch
from kernel_device import DEVICE
from torch import Tensor

from specframe_kernels.head_topk.buffers import TopKBuffers

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}
FINISHES = {
    "plain": {},
    "scale": {"scale": 0.0625},
    "softcap": {"softcap": 3.0},
    "scale and softcap": {"scale": 2.5, "softcap": 30.0},
}


@attrs.frozen
class HeadCase:
    """N hidden states and a packed head with ``count`` active slots; NaN wherever nothing is active."""

    hidden: Tensor
    packed: Tensor
    bias: Tensor | None
    count: Tensor
    token_of: Tensor

    @property
    def head(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
        """The arguments of every form of the operation."""
        return self.hidden, self.packed, self.bias, self.count, self.token_of


def head_case(
    n: int,
    count: int,
    hidden_size: int,
    dtype: torch.dtype = torch.float32,
    *,
    capacity: int | None = None,
    with_bias: bool = False,
    integers: bool = False,
) -> HeadCase:
    """Return a random case; small ``integers`` make logits exact, and many of them equal."""
    generator = torch.Generator().manual_seed(n + count + hidden_size)
    capacity = capacity or count + 5

    def values(*shape: int) -> Tensor:
        if integers:
            return torch.randint(-1, 2, shape, generator=generator).to(DEVICE, dtype)
        return torch.randn(shape, generator=generator).to(DEVICE, dtype)

    hidden = values(n, hidden_size) * (1 if integers else hidden_size**-0.5)
    packed = values(capacity, hidden_size)
    bias = values(capacity) if with_bias else None
    token_of = torch.randperm(2 * capacity, generator=generator)[:capacity].int().to(DEVICE)
    packed[count:], token_of[count:] = torch.nan, 2**30
    if bias is not None:
        bias[count:] = torch.nan
    return HeadCase(hidden, packed, bias, torch.tensor(count, device=DEVICE), token_of)


def poisoned_buffers(case: HeadCase, k: int) -> TopKBuffers:
    """Return buffers in which whatever is not written shows."""
    return poison(TopKBuffers.allocate(len(case.hidden), k, len(case.token_of), DEVICE))


def poison(out: TopKBuffers) -> TopKBuffers:
    """Fill buffers with what shows where it is left."""
    for buffer in (out.log_probs, out.peaks, out.totals):
        buffer.fill_(torch.nan)
    out.token_ids.fill_(-7)
    out.keys.fill_(2**63 - 1)
    return out


def assert_topk(
    log_probs: Tensor, token_ids: Tensor, all_log_probs: Tensor, token_of: Tensor, tolerance: float
) -> None:
    """Compare with the log-probabilities of all active tokens [N, K] float64.

    Rounding may exchange neighbours, so ids count as right when they have the log-probability that they
    are given.
    """
    k = min(log_probs.shape[1], all_log_probs.shape[1])
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(log_probs[:, :k].double(), all_log_probs.topk(k).values, **close)
    by_token = dict(zip(token_of.tolist(), all_log_probs.T.tolist(), strict=False))
    own = [[by_token[token][node] for token in row] for node, row in enumerate(token_ids[:, :k].tolist())]
    torch.testing.assert_close(log_probs[:, :k].double().cpu(), torch.tensor(own).double(), **close)
    assert all(len(set(row)) == k for row in token_ids[:, :k].tolist())
    assert log_probs[:, k:].isneginf().all()
    assert (token_ids[:, k:] == -1).all()
