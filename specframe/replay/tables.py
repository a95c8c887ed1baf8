"""A replay for people: one row per strategy."""

from __future__ import annotations

from collections.abc import Sequence

from specframe.ops.tables import shown
from specframe.replay.scores import StrategyScores, pareto_front


def to_rows(scores: Sequence[StrategyScores]) -> list[dict[str, str]]:
    """Return the rows of the overall table, a star on those of the Pareto front of coverage and size."""
    front = pareto_front([(one.overall.active_mean, one.overall.coverage) for one in scores])
    return [
        {
            "strategy": one.strategy,
            "coverage": f"{one.overall.coverage:.3f}",
            "active": f"{one.overall.active_mean:,.0f}",
            "max": f"{one.overall.active_max:,}",
            "rows at start": f"{one.overall.rows_at_start:,.0f}",
            "rows/pass": f"{one.overall.rows_per_pass:.1f}",
            "evicted/pass": f"{one.overall.evicted_per_pass:.2f}",
            "tau, same drafts": shown(one.overall.tau_same_drafts, ".3f"),
            "tau, at most": shown(one.overall.tau_bound, ".2f"),
            "front": "*" if index in front else "",
        }
        for index, one in enumerate(scores)
    ]


def to_task_rows(scores: Sequence[StrategyScores]) -> list[dict[str, str]]:
    """Return one row per strategy with its coverage of every task."""
    return [
        {
            "coverage by task": one.strategy,
            **{task or "(none)": f"{score.coverage:.3f}" for task, score in one.tasks.items()},
        }
        for one in scores
    ]
