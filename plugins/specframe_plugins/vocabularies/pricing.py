"""What LM-head rows cost a target pass, in tokens, from measured costs."""

from __future__ import annotations

from specframe.costs.model import CostModel

# Of a pass, as far as its head is concerned: calls, hidden states of each, and paths that are drafted.
CALLS = 2.5
_STATES, _LIKELY, _USUAL_ROWS = 2, (0.6, 0.35, 0.2, 0.12, 0.1), 256


def token_price(costs: CostModel) -> float:
    """Return the tokens that a second is worth on a usual text."""
    return costs.speed(_LIKELY, costs.draft([_STATES], _USUAL_ROWS), costs.context)


def head_price(costs: CostModel, rows: int) -> float:
    """Return the tokens that the head calls of a pass cost over so many active rows."""
    return token_price(costs) * CALLS * costs.head(_STATES, rows)
