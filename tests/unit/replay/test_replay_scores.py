from __future__ import annotations

import pytest

from specframe.contracts.report import StepStats
from specframe.replay.offline import ReplayedRequest, ReplayedStep
from specframe.replay.scores import pareto_front, score
from specframe.replay.trace import TraceHeader

HEADER = TraceHeader(
    model="m",
    tokenizer_fingerprint="f",
    dtype="float32",
    vocab_size=100,
    hidden_size=4,
    draft_ids=None,
    required_ids=(1,),
    stop_ids=(1,),
    topk=4,
    prompt_window=8,
    strategy="full",
    drafter="eagle",
    branching=2,
    max_depth=3,
    max_nodes=8,
)


def step(index: int, emitted: int, covered: int, draftable: int, reachable: int, **more: int) -> ReplayedStep:
    stats = StepStats(
        step=index,
        tree_nodes=8,
        emitted_ids=tuple(range(emitted)),
        accepted=emitted - 1,
        active_size=more.get("size", 10),
        covered=covered,
        rejection=None,
        rows_fetched=more.get("rows", 0),
    )
    return ReplayedStep(stats, draftable, reachable, more.get("evicted", 0))


REQUESTS = [
    ReplayedRequest("a", "qa", [step(0, 3, 3, 2, 3, size=10, rows=9), step(1, 1, 0, 0, 0, size=20, rows=10)]),
    ReplayedRequest("b", "code", [step(0, 4, 2, 1, 1, size=30, rows=21, evicted=3)]),
]


def test_coverage_counts_tokens_and_sizes_count_target_passes() -> None:
    overall = score("x", REQUESTS, HEADER).overall
    assert overall.coverage == pytest.approx(5 / 8)
    assert (overall.active_mean, overall.active_max) == (20, 30)
    assert (overall.requests, overall.target_passes) == (2, 3)


def test_rows_of_the_prompt_are_counted_apart() -> None:
    overall = score("x", REQUESTS, HEADER).overall
    assert (overall.rows_at_start, overall.rows_per_pass, overall.evicted_per_pass) == (15, 10, 1)


def test_a_path_ends_at_the_first_accepted_token_that_is_not_active() -> None:
    overall = score("x", REQUESTS, HEADER).overall
    assert overall.tau_recorded == pytest.approx(8 / 3)
    assert overall.tau_same_drafts == pytest.approx((3 + 1 + 2) / 3)
    assert overall.tau_bound == pytest.approx((4 + 1 + 2) / 3)


def test_tasks_and_steps_are_scored_by_themselves() -> None:
    scores = score("x", REQUESTS, HEADER)
    assert {task: one.coverage for task, one in scores.tasks.items()} == {"qa": 0.75, "code": 0.5}
    assert scores.coverage_by_step == [pytest.approx(5 / 7), 0.0]
    assert scores.active_by_step == [20, 20]


def test_the_pareto_front_has_no_point_that_another_beats() -> None:
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (3.0, 0.95), (9.0, 0.95), (1.0, 0.6)]
    assert pareto_front(points) == [5, 3]
