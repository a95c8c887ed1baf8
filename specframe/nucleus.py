"""Top-p without sorting the vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import TopPLogitsWarper

# Tokens that are looked at first; nearly always the nucleus is among them.
_CANDIDATES = 1024


class NucleusWarper(TopPLogitsWarper):
    """Keeps the tokens of ``TopPLogitsWarper``: those for which what is more likely adds up to less than p.

    Only a few of the most likely tokens are sorted. Where they do not add up to p, all are, as in
    transformers. Sums are in float64, so a token may be kept or not where transformers' float32 sum of the
    whole vocabulary rounds across p.
    """

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores [n, V] with -inf outside the nucleus."""
        if scores.shape[-1] <= _CANDIDATES:
            return super().__call__(input_ids, scores)  # type: ignore[no-any-return]  # untyped
        best = scores.topk(_CANDIDATES, dim=-1)
        total = scores.logsumexp(dim=-1, keepdim=True)
        probabilities = (best.values - total).exp().double()
        before = probabilities.cumsum(dim=-1) - probabilities
        if not bool((before[:, -1] >= self.top_p).all()):
            return super().__call__(input_ids, scores)  # type: ignore[no-any-return]  # untyped
        kept = best.values.masked_fill(before >= self.top_p, self.filter_value)
        return torch.full_like(scores, self.filter_value).scatter_(-1, best.indices, kept)
