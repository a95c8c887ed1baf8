"""One configuration's rows summed up: speed, tau, coverage, active size."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from specframe.bench.rows import BenchRow


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
    new_tokens, wall = sum(row.new_tokens for row in rows), sum(row.wall_s for row in rows)
    known = [row.steps for row in rows if row.steps is not None]
    passes = sum(len(steps.emitted) for steps in known)
    emitted = sum(sum(steps.emitted) for steps in known)
    drafts = any(row.drafter for row in rows)

    def per_pass(name: str) -> float | None:
        return sum(sum(getattr(steps, name)) for steps in known) / passes if passes and drafts else None

    return Totals(
        prompts=len(rows),
        new_tokens=new_tokens,
        tokens_per_s=new_tokens / wall if wall else 0.0,
        tau=emitted / passes if passes else None,
        coverage=sum(sum(steps.covered) for steps in known) / emitted if emitted and drafts else None,
        active_mean=per_pass("active_size"),
        active_max=max((size for steps in known for size in steps.active_size), default=0)
        if drafts
        else None,
        rows_fetched=per_pass("rows_fetched"),
        tree_nodes=per_pass("tree_nodes"),
    )
