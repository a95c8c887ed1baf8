"""The cost curves of one model on one machine, and what a step costs by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import attrs

from specframe.costs.curve import LONGEST, Curve
from specframe.ops.machine import Machine

_SHORTEST, _WIDEST = 1e-9, 4096


@attrs.frozen(slots=True, kw_only=True)
class Setup:
    """What costs were measured of.

    Attributes:
        model: the target's name.
        size: its layers, H and V.
        dtype: of its weights.
        device: where it is.
        forward: what runs its layers.
        drafter: the drafter's name.
        draft: its options and the largest tree it drafts.
        gather: the gather backend's name.
    """

    model: str
    size: str
    dtype: str
    device: str
    forward: str
    drafter: str
    draft: str
    gather: str


@attrs.frozen(slots=True, kw_only=True)
class CostModel:
    """Seconds of the parts of a step.

    Attributes:
        setup: what was measured.
        machine: where.
        pass_s: a target pass by nodes, with ``context`` tokens of context.
        context: tokens.
        context_s: what one more token of context adds to a pass, by nodes.
        draft_s: the drafter's first level, without the head: reading what was emitted.
        level_s: each further level by its nodes, without the head.
        head_s: one head call for one hidden state, by active rows.
        wide_head_s: the same for ``width`` hidden states.
        width: of the widest level.
        whole_s: one head call over the full vocabulary, by hidden states.
        skip_s: letting the drafter read what was emitted, without a draft.
        followed: they followed what steps took; otherwise they are as measured.
    """

    setup: Setup
    machine: Machine
    pass_s: Curve
    context: int
    context_s: Curve
    draft_s: float
    level_s: Curve
    head_s: Curve
    wide_head_s: Curve
    width: int
    whole_s: Curve
    skip_s: float
    followed: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.pass_s(1) >= _SHORTEST:
            raise ValueError(f"a target pass of one node must take {_SHORTEST:g} seconds or more")
        if not 1 <= self.width <= _WIDEST:
            raise ValueError(f"width must be 1 to {_WIDEST}")
        if self.context < 0:
            raise ValueError("context must be 0 or more")
        if not all(0 <= seconds <= LONGEST for seconds in (self.draft_s, self.skip_s)):
            raise ValueError(f"draft_s and skip_s must be 0 to {LONGEST:g}")

    @property
    def name(self) -> str:
        """Eight digits that tell these costs from others."""
        return hashlib.sha256(json.dumps(attrs.asdict(self)).encode()).hexdigest()[:8]

    def target_pass(self, nodes: float, context: int) -> float:
        """Return the seconds of a target pass over ``nodes`` with ``context`` tokens before them.

        A shorter context than the measured one counts as that.
        """
        return self.pass_s(nodes) + max(context - self.context, 0) * self.context_s(nodes)

    def head(self, states: int, rows: int | None) -> float:
        """Return the seconds of a head call for ``states`` hidden states over ``rows``; None for all."""
        if rows is None:
            return self.whole_s(states)
        one = self.head_s(rows)
        if self.width == 1:
            return one
        return one + (states - 1) / (self.width - 1) * max(self.wide_head_s(rows) - one, 0.0)

    def speed(self, likely: Sequence[float], draft_s: float, context: int) -> float:
        """Return the most tokens per second of a draft whose likeliest nodes are verified, or of none.

        Args:
            likely: probability of the path to each node, falling.
            draft_s: seconds of the draft.
            context: tokens before it.
        """
        best, tokens = 1 / self.target_pass(1, context), 1.0
        for nodes, one in enumerate(likely, start=2):
            tokens += one
            best = max(best, tokens / (self.target_pass(nodes, context) + draft_s))
        return best

    def draft(self, widths: Sequence[int], rows: int | None) -> float:
        """Return the seconds of a draft whose further levels have so many nodes, over ``rows`` rows."""
        further = sum(self.level_s(width) + self.head(width, rows) for width in widths)
        return self.draft_s + self.head(1, rows) + further
