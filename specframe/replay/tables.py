"""A replay for people: one row per strategy."""

from __future__ import annotations

from collections.abc import Sequence

from specframe.replay.scores import Score, StrategyScores, pareto_front

HEADERS = (
    "strategy",
    "coverage",
    "active",
    "max",
    "rows at start",
    "rows/pass",
    "evicted/pass",
    "tau, same drafts",
    "tau, at most",
    "front",
)


def to_rows(scores: Sequence[StrategyScores]) -> list[tuple[str, ...]]:
    """Return the rows of the overall table, a star on those of the Pareto front of coverage and size."""
    front = pareto_front([(one.overall.active_mean, one.overall.coverage) for one in scores])
    return [
        (one.strategy, *_cells(one.overall), "*" if index in front else "")
        for index, one in enumerate(scores)
    ]


def to_task_rows(scores: Sequence[StrategyScores]) -> list[tuple[str, ...]]:
    """Return one row per strategy with its coverage of every task; headers as of ``task_headers``."""
    return [(one.strategy, *(f"{score.coverage:.3f}" for score in one.tasks.values())) for one in scores]


def task_headers(scores: Sequence[StrategyScores]) -> tuple[str, ...]:
    """Return the headers of ``to_task_rows``."""
    return ("coverage by task", *(task or "(none)" for task in scores[0].tasks))


def _cells(score: Score) -> tuple[str, ...]:
    return (
        f"{score.coverage:.3f}",
        f"{score.active_mean:,.0f}",
        f"{score.active_max:,}",
        f"{score.rows_at_start:,.0f}",
        f"{score.rows_per_pass:.1f}",
        f"{score.evicted_per_pass:.2f}",
        "" if score.tau_same_drafts is None else f"{score.tau_same_drafts:.3f}",
        "" if score.tau_bound is None else f"{score.tau_bound:.2f}",
    )
