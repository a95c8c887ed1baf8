"""A sweep: which options are fastest here, found in rounds of which each keeps the better half.

Every round is a benchmark of its own, on prompts that no round before it had: what a configuration owes to
luck in one round it loses in the next (successive halving, arXiv 1502.07943).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pluggy

from specframe.bench.command import BenchOptions
from specframe.bench.configurations import Configuration, parse_configurations
from specframe.bench.report.run import Run
from specframe.bench.report.standings import Standing, standing
from specframe.bench.rows import BenchRow
from specframe.bench.session import BenchResult, run_bench
from specframe.config import DEFAULT_STRATEGY, RunConfig
from specframe.errors import UsageError
from specframe.ops.notes import note
from specframe.registry.choice import setting_for
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.placement import find_device, find_dtype, resolve_placement
from specframe.request.tasks import Task, choose

# A round of at most so many configurations is the last one.
FINALISTS = 5


@attrs.frozen(slots=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        rounds: the benchmarks.
        standings: of all configurations: the finalists before the others, and of one round the fastest first.
    """

    rounds: list[BenchResult]
    standings: list[Standing]

    @property
    def first(self) -> str:
        """Label of the configuration that the others are compared with; it is in every round."""
        label: str = self.rounds[0].manifest.settings["configurations"][0]
        return label


def run_sweep(options: BenchOptions, *, manager: pluggy.PluginManager | None = None) -> SweepResult:
    """Run a sweep, or what is left of an interrupted one.

    Args:
        options: what to run; with a single configuration, what its drafter has to offer around it. The rows
            of a round go to a file of their own, ``OUT.round1.jsonl`` for ``json=OUT.jsonl``.
        manager: plugin manager; by default one with every installed plugin.

    Raises:
        UsageError: as in ``run_bench``, or there is nothing to sweep.
        SpecframeError: as in ``run_bench``.
    """
    manager = manager or create_plugin_manager()
    swept = options.configurations
    if len(swept) == 1:
        swept = around(swept[0], options.base, manager)
    rounds: list[BenchResult] = []
    rows: list[BenchRow] = []
    last_round: dict[str, int] = {}
    remaining = list(swept)
    for number, tasks in enumerate(_prompts(options), start=1):
        note(f"round {number}: {len(remaining)} configurations, {len(tasks)} prompts")
        arguments = attrs.evolve(options.arguments, json=round_path(options.arguments.json, number))
        of_round = attrs.evolve(options, configurations=remaining, tasks=tasks, arguments=arguments)
        rounds.append(run_bench(of_round, manager=manager))
        rows += rounds[-1].rows
        last_round |= dict.fromkeys([one.label for one in remaining], number)
        run = Run(tuple(rows), rounds[-1].manifest.target["vocab_size"])
        found = [standing(one, run, swept[0].label, last_round[one.label]) for one in swept]
        found.sort(key=lambda one: (-one.round, -one.ratio.value))
        if len(remaining) <= FINALISTS:
            break
        better = [one.configuration for one in found[: -(-len(remaining) // 2)]]
        remaining = [one for one in remaining if one is swept[0] or one in better]
    return SweepResult(rounds, found)


def around(
    configuration: Configuration, base: RunConfig, manager: pluggy.PluginManager
) -> list[Configuration]:
    """Return a configuration, and those that its drafter wants it to be compared with.

    Options that were given stay as they are.

    Raises:
        UsageError: there is nothing to compare it with.
    """
    config = resolve_placement(configuration.run_config(base))
    offered: Sequence[str] = ()
    if not configuration.is_peer and config.strategy in build_registry(manager).names("vocabulary"):
        component = build_registry(manager).get("drafter", config.drafter)
        setting = setting_for(config, find_device(config.device), find_dtype(config.dtype))
        offered = component.sweep(setting) if component.sweep else ()
    given = config.options.get("drafter", {})
    found = {configuration.label: configuration}
    for assignments in offered:
        free = [f"drafter.{one}" for one in assignments.split(",") if one.partition("=")[0] not in given]
        if free:
            joint = "," if ":" in configuration.label else ":"
            more = parse_configurations([configuration.label + joint + ",".join(free)])
            found |= {one.label: one for one in more}
    if len(found) == 1:
        raise UsageError(
            f"{configuration.label!r} has nothing to sweep; allowed: alternatives, as in "
            f"'{DEFAULT_STRATEGY}:capacity=512|1024'"
        )
    return list(found.values())


def round_path(json: Path | None, number: int) -> Path | None:
    """Return where the rows of a round go."""
    return None if json is None else json.with_suffix(f".round{number}{json.suffix}")


def _prompts(options: BenchOptions) -> Iterator[list[Task]]:
    """Yield the prompts of every round, until none is left."""
    done, size = 0, options.arguments.limit_per_task or 1
    while tasks := choose(options.tasks, skip=done, limit=size):
        yield tasks
        done += size
