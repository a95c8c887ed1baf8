"""One configuration's rows summed up: speed, tau, coverage, active size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from specframe.bench.rows import BenchRow, Steps


@attrs.frozen(slots=True, kw_only=True)
class Totals:
    """Sums over the rows of a configuration; None stands for what a peer does not tell.

    Attributes:
        prompts: how many rows.
        new_tokens: of all of them.
        tokens_per_s: new tokens by wall time, prefill included.
        tau: tokens emitted per target pass.
        coverage: share of emitted tokens that were in the active set when their step was drafted.
        active_mean: K, mean over target passes.
        active_max: largest K.
        rows_fetched: LM-head rows fetched per target pass.
        tree_nodes: N, mean over target passes.
    """

    prompts: int
    new_tokens: int
    tokens_per_s: float
    tau: float | None
    coverage: float | None
    active_mean: float | None
    active_max: int | None
    rows_fetched: float | None
    tree_nodes: float | None


def totals(rows: Sequence[BenchRow]) -> Totals:
    """Return the sums over rows, at least one, of one configuration."""
    reports = [row.report for row in rows]
    new_tokens, wall = sum(one.new_tokens for one in reports), sum(one.wall_s for one in reports)
    known = [row.steps for row in rows if row.steps is not None]
    passes = sum(len(steps.emitted) for steps in known)
    emitted = sum(sum(steps.emitted) for steps in known)
    drafting = known if any(one.drafter for one in reports) else []

    def per_pass(of: Callable[[Steps], list[int]]) -> float | None:
        return sum(sum(of(steps)) for steps in drafting) / passes if passes and drafting else None

    return Totals(
        prompts=len(rows),
        new_tokens=new_tokens,
        tokens_per_s=new_tokens / wall if wall else 0.0,
        tau=emitted / passes if passes else None,
        coverage=sum(sum(steps.covered) for steps in drafting) / emitted if emitted and drafting else None,
        active_mean=per_pass(lambda steps: steps.active_size),
        active_max=max((size for steps in drafting for size in steps.active_size), default=None),
        rows_fetched=per_pass(lambda steps: steps.rows_fetched),
        tree_nodes=per_pass(lambda steps: steps.tree_nodes),
    )
