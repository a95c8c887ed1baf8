"""What replayed requests add up to, over everything and by task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import attrs

from specframe.replay.offline import ReplayedRequest, ReplayedStep
from specframe.replay.trace import TraceHeader


@attrs.frozen(slots=True, kw_only=True)
class Score:
    """How one strategy did on some requests of a trace.

    Attributes:
        requests: how many.
        target_passes: S, over all of them.
        coverage: share of the emitted tokens that were active when their step was drafted.
        active_mean: K, mean over target passes.
        active_max: the largest K.
        rows_at_start: LM-head rows fetched for a prompt, mean over requests.
        rows_per_pass: LM-head rows fetched after a target pass, mean.
        evicted_per_pass: tokens that lost their slot, mean over target passes.
        tau_recorded: of the trace itself.
        tau_same_drafts: if the drafter proposed the recorded nodes and no others: a path ends at the first
            accepted token that is not active. A drafter puts other nodes into the place of those it may not
            propose, so a live run can do better. None for a trace without drafts.
        tau_bound: if a drafter of the same depth guessed every active token: from each recorded root the
            path goes on along the text to come up to the first token that is not active. No drafter does
            better. None for a trace without drafts.
    """

    requests: int
    target_passes: int
    coverage: float
    active_mean: float
    active_max: int
    rows_at_start: float
    rows_per_pass: float
    evicted_per_pass: float
    tau_recorded: float
    tau_same_drafts: float | None
    tau_bound: float | None


@attrs.frozen(slots=True, kw_only=True)
class StrategyScores:
    """One strategy on a whole trace.

    Attributes:
        strategy: its label, as it was typed.
        overall: over all requests.
        tasks: by task, in the order of the trace.
        coverage_by_step: share of emitted tokens that were active, by step of the request.
        active_by_step: K, mean over the requests that got that far, by step of the request.
        half_way: the first step that fewer than half of the requests reach.
    """

    strategy: str
    overall: Score
    tasks: dict[str, Score]
    coverage_by_step: list[float]
    active_by_step: list[float]
    half_way: int


def score(label: str, requests: Sequence[ReplayedRequest], header: TraceHeader) -> StrategyScores:
    """Return the scores of a strategy.

    Args:
        label: what to call it.
        requests: the replayed trace, at least one request.
        header: of the trace.
    """
    tasks = dict.fromkeys(request.task for request in requests)
    return StrategyScores(
        strategy=label,
        overall=_score(requests, header),
        tasks={task: _score([one for one in requests if one.task == task], header) for task in tasks},
        coverage_by_step=_by_step(requests, _coverage),
        active_by_step=_by_step(requests, lambda steps: fmean(one.stats.active_size for one in steps)),
        half_way=sorted(len(request.steps) for request in requests)[(len(requests) - 1) // 2],
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which points (cost, gain) no other one beats: rising cost, and each gain above all before."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda one: (points[one][0], -points[one][1])):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def _score(requests: Sequence[ReplayedRequest], header: TraceHeader) -> Score:
    steps = [step for request in requests for step in request.steps]
    later = [step for request in requests for step in request.steps[1:]]
    passes, drafts = len(steps), header.max_depth > 0
    return Score(
        requests=len(requests),
        target_passes=passes,
        coverage=_coverage(steps),
        active_mean=fmean(step.stats.active_size for step in steps),
        active_max=max(step.stats.active_size for step in steps),
        rows_at_start=fmean(request.steps[0].stats.rows_fetched for request in requests),
        rows_per_pass=fmean(step.stats.rows_fetched for step in later) if later else 0.0,
        evicted_per_pass=fmean(step.rows_evicted for step in steps),
        tau_recorded=fmean(len(step.stats.emitted_ids) for step in steps),
        # The end of a generation may cut a pass right after its accepted tokens.
        tau_same_drafts=fmean(min(one.draftable + 1, len(one.stats.emitted_ids)) for one in steps)
        if drafts
        else None,
        tau_bound=fmean(one.reachable + 1 for one in steps) if drafts else None,
    )


def _coverage(steps: Sequence[ReplayedStep]) -> float:
    return sum(step.stats.covered for step in steps) / sum(len(step.stats.emitted_ids) for step in steps)


def _by_step(
    requests: Sequence[ReplayedRequest], value: Callable[[list[ReplayedStep]], float]
) -> list[float]:
    longest = max(len(request.steps) for request in requests)
    return [
        value([request.steps[step] for request in requests if step < len(request.steps)])
        for step in range(longest)
    ]
