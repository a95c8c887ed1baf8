"""K-sequential selection: how often each of k independent candidates is accepted, and what is left for none.

Source: SpecTr (arXiv 2310.15141), section 5, algorithm 2 (K-SEQ).
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

_BISECTIONS = 40


@attrs.frozen(slots=True, eq=False)
class KSequential:
    """Each candidate x is accepted with probability min(1, p(x) / (rho q(x))), in turn, until one is.

    With beta(rho) = sum of min(p / rho, q), one of k candidates is accepted with probability
    1 - (1 - beta)^k, and a token x with probability min(p(x) / rho, q(x)) (1 - (1 - beta)^k) / beta. What p
    has beyond that is nowhere negative as soon as 1 - (1 - beta)^k <= rho beta.

    Attributes:
        rho: the smallest such number, between 1 and k.
        recovered: what p has beyond [V], not normalised; p itself where nothing is left.
    """

    rho: float
    recovered: Tensor

    @classmethod
    def of(cls, p: Tensor, q: Tensor, k: int) -> KSequential:
        """Return the selection of tokens that follow ``p`` [V] from k candidates that follow ``q`` [V]."""
        drawable = q > 0.0
        p_drawable, q_drawable = p[drawable], q[drawable]

        def shared(rho: float) -> float:
            return float(torch.minimum(p_drawable / rho, q_drawable).sum())

        low, high = 1.0, float(k)
        if _any_of(shared(low), k) <= low * shared(low):
            high = low
        for _ in range(_BISECTIONS if high > low else 0):
            rho = (low + high) / 2
            beta = shared(rho)
            low, high = (low, rho) if _any_of(beta, k) <= rho * beta else (rho, high)
        beta = shared(high)
        if beta == 0.0:
            return cls(high, p)
        recovered = (p - torch.minimum(p / high, q) * (_any_of(beta, k) / beta)).clamp_(min=0.0)
        return cls(high, recovered if recovered.sum() > 0.0 else p)


def _any_of(beta: float, k: int) -> float:
    """Return the probability that one of k independent events of probability beta happens."""
    return float(1.0 - (1.0 - min(beta, 1.0)) ** k)
