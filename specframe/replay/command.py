"""``specframe replay``: strategies scored from a trace, without the model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pluggy

from specframe.bench.configurations import Configuration, parse_configurations
from specframe.config import COMPARED
from specframe.contracts.records import check_file_place
from specframe.errors import SpecframeError, UsageError
from specframe.ops.progress_line import ProgressLine
from specframe.ops.tables import print_records, print_table
from specframe.registry.manager import create_plugin_manager
from specframe.replay.arguments import ReplayArguments
from specframe.replay.offline import OfflineStrategy
from specframe.replay.scores import StrategyScores, pareto_front, score
from specframe.replay.tables import to_rows, to_task_rows
from specframe.replay.trace import TraceHeader
from specframe.replay.trace_file import Trace, read_trace


def run_replay(arguments: ReplayArguments) -> None:
    """Replay a trace, or search on it, and print what was found.

    Raises:
        UsageError: something that was typed, or the trace, is not allowed.
        SpecframeError: a strategy failed, or a file cannot be written.
    """
    if arguments.tune is not None:
        if arguments.strategies or arguments.plot:
            raise UsageError("--tune searches one strategy; allowed: no --strategies and no --plot beside it")
        _run_tuning(arguments, arguments.tune)
        return
    if arguments.plot is not None:
        _require("matplotlib", "report", "--plot")
        check_file_place(arguments.plot)
    trace = load(arguments.trace, arguments.task, arguments.limit_per_task)
    strategies = offline_strategies(trace.header, arguments.strategies or COMPARED)
    scores = replay_all(trace, strategies)
    if arguments.plot is not None:
        from specframe.replay.pictures import write_picture

        write_picture(arguments.plot, scores, trace.header)
    if arguments.json:
        print(to_json(trace.header, scores))
        return
    print_records(to_rows(scores), title=describe(trace))
    if len(scores[0].tasks) > 1:
        print()
        print_records(to_task_rows(scores))


def _run_tuning(arguments: ReplayArguments, text: str) -> None:
    _require("optuna", "tune", "--tune")
    from specframe.replay.costs import measured_costs
    from specframe.replay.tuning import to_json as tuning_json
    from specframe.replay.tuning import tune, tuning_headers, tuning_rows

    configurations = parse_configurations([text])
    if len(configurations) != 1:
        raise UsageError(f"--tune is {text!r}; allowed: one strategy")
    name, fixed = strategy_of(configurations[0])
    trace = load(arguments.trace, arguments.task, arguments.limit_per_task)
    OfflineStrategy(
        trace.header, name, dict(fixed)
    )  # what is wrong with it is said before anything is measured
    costs = arguments.costs
    if costs is None and arguments.storage is not None:
        costs = arguments.storage.with_suffix(f"{arguments.storage.suffix}.costs.json")
    result = tune(
        trace,
        name,
        fixed,
        measured_costs(trace.header, costs),
        coverage_floor=arguments.coverage_floor,
        trials=arguments.trials,
        storage=arguments.storage,
    )
    if arguments.json:
        print(tuning_json(result))
        return
    print_table(tuning_rows(result), tuning_headers(result), title=describe(trace))
    print()
    if result.best is None:
        raise SpecframeError(
            f"none of {result.trials} trials has a coverage of {arguments.coverage_floor:g}; allowed: more "
            "--trials, or a lower --coverage-floor"
        )
    print(result.flags(result.best))


def describe(trace: Trace) -> str:
    """Return one line on what a trace is."""
    header = trace.header
    passes = sum(len(request.nodes) for request in trace.requests)
    return (
        f"{len(trace.requests):,} requests, {passes:,} target passes of {header.model} ({header.dtype}), "
        f"recorded with {header.strategy}"
    )


def _require(module: str, extra: str, what: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UsageError(f"{what} needs {module}; install it with: pip install 'specframe[{extra}]'")


def load(path: Path, tasks: Sequence[str] = (), limit_per_task: int | None = None) -> Trace:
    """Return a trace, or the part of it that was asked for.

    Args:
        path: of the trace.
        tasks: to keep; none for all.
        limit_per_task: how many requests of each task to keep; None for all.

    Raises:
        UsageError: the trace cannot be read, or has none of the tasks.
    """
    trace = read_trace(path)
    if limit_per_task is not None and limit_per_task < 1:
        raise UsageError(f"--limit-per-task is {limit_per_task}; allowed: 1 or more")
    known = dict.fromkeys(request.task for request in trace.requests)
    for task in tasks:
        if task not in known:
            raise UsageError(f"trace {path} has no task {task!r}; it has: {', '.join(known)}")
    seen = dict.fromkeys(known, 0)
    kept = []
    for request in trace.requests:
        seen[request.task] += 1
        wanted = not tasks or request.task in tasks
        if wanted and seen[request.task] <= (limit_per_task or len(trace.requests)):
            kept.append(request)
    return Trace(trace.header, kept)


def offline_strategies(header: TraceHeader, texts: Iterable[str]) -> dict[str, OfflineStrategy]:
    """Return the strategies of lists such as ``full,nanospec:capacity=1024``, by label.

    Raises:
        UsageError: one is unknown, does not fit, or sets something else than options of the strategy.
    """
    manager = create_plugin_manager()
    return {one.label: _offline(header, one, manager) for one in parse_configurations(texts)}


def strategy_of(configuration: Configuration) -> tuple[str, dict[str, str]]:
    """Return the name and the options of a strategy.

    Raises:
        UsageError: something else than options of the strategy is set.
    """
    if configuration.choices or set(configuration.options) - {"vocabulary"}:
        raise UsageError(
            f"{configuration.label!r} sets more than the strategy; a trace has its drafter and trees already"
        )
    return configuration.name, dict(configuration.options.get("vocabulary", {}))


def replay_all(trace: Trace, strategies: dict[str, OfflineStrategy]) -> list[StrategyScores]:
    """Return the scores of every strategy, with a line on the terminal about how far it is."""
    with ProgressLine("replay", len(strategies) * len(trace.requests), unit="requests") as progress:
        scores = []
        for label, strategy in strategies.items():
            replayed = []
            for request in trace.requests:
                replayed.append(strategy.replay(request))
                progress.advance()
            scores.append(score(label, replayed, trace.header))
    return scores


def to_json(header: TraceHeader, scores: Sequence[StrategyScores]) -> str:
    """Return everything as one line of JSON."""
    front = pareto_front([(one.overall.active_mean, one.overall.coverage) for one in scores])
    about = attrs.asdict(header)
    del about["draft_ids"]  # as long as the drafter's vocabulary
    content: dict[str, Any] = {
        "trace": about,
        "strategies": [attrs.asdict(one) for one in scores],
        "pareto_front": [scores[index].strategy for index in front],
    }
    return json.dumps(content)


def _offline(
    header: TraceHeader, configuration: Configuration, manager: pluggy.PluginManager
) -> OfflineStrategy:
    name, options = strategy_of(configuration)
    return OfflineStrategy(header, name, options, manager)
