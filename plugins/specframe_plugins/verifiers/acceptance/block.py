"""Block verification of one path: how much of it is accepted, and what the next token is drawn from.

Source: Block Verification Accelerates Speculative Decoding (arXiv 2403.10444), algorithm 2.
Shapes: L drafted tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from torch import Generator, Tensor

from specframe_plugins.verifiers.acceptance import drawing


@attrs.frozen(slots=True, eq=False)
class BlockAcceptance:
    """The first ``accepted`` tokens are accepted; the next one follows ``remaining`` [V], not normalised."""

    accepted: int
    remaining: Tensor


def accept_block(
    tokens: Sequence[int],
    p: Sequence[Tensor],
    q: Sequence[Tensor],
    generator: Generator | None,
    *,
    weight: float = 1.0,
) -> BlockAcceptance:
    """Return the longest accepted beginning of a path.

    A prefix of length i has weight w_i = min(w_{i-1} p(x_i) / q(x_i), 1), w_0 = 1. The whole path is accepted
    with probability w_L, a shorter prefix with sum (w_i p - q)+ / (sum (w_i p - q)+ + 1 - w_i), and the
    longest accepted one counts. After it the next token follows (w_i p - q)+, or p after the whole path.

    Args:
        tokens: the path, drawn from ``q`` [L].
        p: the target's distribution before each token and after the last, L + 1 rows [V].
        q: the drafter's distribution before each token, L rows [V].
        generator: the only source of randomness.
        weight: w_0; less than 1 accepts less, and then what remains after nothing is the caller's business.
    """
    weights = [weight]
    for token, target, drafter in zip(tokens, p, q, strict=False):
        weights.append(min(weights[-1] * float(target[token]) / float(drafter[token]), 1.0))
    length = len(tokens)
    if drawing.accepts(weights[length], generator):
        return BlockAcceptance(length, p[length])
    for accepted in range(length - 1, 0, -1):
        remaining = (weights[accepted] * p[accepted] - q[accepted]).clamp_(min=0.0)
        excess = float(remaining.sum())
        if excess > 0.0 and drawing.accepts(excess / (excess + 1.0 - weights[accepted]), generator):
            return BlockAcceptance(accepted, remaining)
    remaining = (p[0] - q[0]).clamp_(min=0.0)
    # Nothing is left where p equals q; then a path is rejected by rounding alone.
    return BlockAcceptance(0, remaining if remaining.sum() > 0.0 else p[0])
