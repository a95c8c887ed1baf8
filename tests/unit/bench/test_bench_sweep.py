"""A sweep: what is compared, which half goes on, and what is said about the best."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from bench_rows import row
from report_rows import manifest

from specframe.bench import sweep
from specframe.bench.command import BenchArguments, BenchOptions
from specframe.bench.configurations import Configuration, parse_configurations
from specframe.bench.report.sweep import best_line, sweep_rows
from specframe.bench.session import BenchResult
from specframe.bench.sweep import SweepResult, around, round_path, run_sweep
from specframe.config import RunConfig
from specframe.errors import UsageError
from specframe.registry.manager import create_plugin_manager
from specframe.request.tasks import Task

TASKS = [
    Task(id=f"{kind}{number}", task=kind, category=kind, turns=("text",))
    for kind in ("qa", "code")
    for number in range(4)
]


def options(*configurations: str, prompts: int = 1, json: Path | None = None) -> BenchOptions:
    return BenchOptions(
        arguments=BenchArguments(limit_per_task=prompts, json=json),
        tasks=TASKS,
        configurations=parse_configurations(configurations),
        base=RunConfig(),
        tolerance=0.5,
    )


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[BenchOptions]:
    """Benchmarks that are asked for; a configuration is as fast as its capacity says."""
    asked: list[BenchOptions] = []

    def run_bench(options: BenchOptions, **_: object) -> BenchResult:
        asked.append(options)
        rows = [
            row(id=task.id, task=task.task, configuration=one.label, wall_s=10 / speed(one))
            for task in options.tasks
            for one in options.configurations
        ]
        labels = [one.label for one in options.configurations]
        return BenchResult(rows, manifest(settings={"configurations": labels}))

    monkeypatch.setattr(sweep, "run_bench", run_bench)
    return asked


def speed(configuration: Configuration) -> float:
    return float(configuration.options["vocabulary"]["capacity"])


def sizes(capacities: range) -> str:
    return "nanospec:capacity=" + "|".join(map(str, capacities))


def test_every_round_keeps_the_faster_half_and_the_first(runs: list[BenchOptions]) -> None:
    result = run_sweep(options(sizes(range(1, 13))))
    kept = [[speed(one) for one in run.configurations] for run in runs]
    assert kept == [list(range(1, 13)), [1, *range(7, 13)], [1, 9, 10, 11, 12]]
    assert [speed(one.configuration) for one in result.standings[:5]] == [12, 11, 10, 9, 1]
    assert [one.round for one in result.standings] == [3] * 5 + [2] * 2 + [1] * 5


def test_every_round_has_fresh_prompts_of_every_task(runs: list[BenchOptions]) -> None:
    run_sweep(options(sizes(range(1, 13))))
    assert [[task.id for task in run.tasks] for run in runs] == [[f"qa{n}", f"code{n}"] for n in range(3)]


def test_a_sweep_ends_with_its_prompts(runs: list[BenchOptions]) -> None:
    result = run_sweep(options(sizes(range(1, 21)), prompts=3))
    assert [len(run.tasks) for run in runs] == [6, 2]
    assert speed(result.standings[0].configuration) == 20


def test_few_configurations_need_one_round(runs: list[BenchOptions]) -> None:
    assert len(run_sweep(options(sizes(range(1, 6)))).rounds) == 1


def test_ratios_are_to_the_first_configuration_on_the_same_prompts(runs: list[BenchOptions]) -> None:
    result = run_sweep(options(sizes(range(1, 13))))
    for one in result.standings:
        assert one.ratio.value == pytest.approx(speed(one.configuration))
        assert len(one.prompts) == 2 * one.round


def test_every_round_has_a_file_of_its_own(runs: list[BenchOptions], tmp_path: Path) -> None:
    run_sweep(options(sizes(range(1, 13)), json=tmp_path / "out.jsonl"))
    assert [run.arguments.json and run.arguments.json.name for run in runs] == [
        f"out.round{n}.jsonl" for n in (1, 2, 3)
    ]
    assert round_path(None, 1) is None


def swept(label: str, base: RunConfig) -> list[str]:
    (configuration,) = parse_configurations([label])
    return [one.label for one in around(configuration, base, create_plugin_manager())]


def test_one_configuration_is_compared_with_what_its_drafter_offers() -> None:
    labels = swept("nanospec", RunConfig())
    assert labels[0] == "nanospec"
    assert len(labels) > 10
    assert all(label.startswith("nanospec:drafter.") for label in labels[1:])
    assert any("drafter.branching=" in label for label in labels)


def test_options_that_were_given_stay_as_they_are() -> None:
    base = RunConfig(options={"drafter": {"depth": "5"}})
    labels = swept("static:size=8192,drafter.branching=5", base)
    assert len(labels) == len(set(labels)) > 5
    for label in labels[1:]:
        assert label.startswith("static:size=8192,drafter.branching=5,drafter.")
        assert "depth" not in label
        assert label.count("branching") == 1


@pytest.mark.parametrize("label", ["autoregressive", "hf-greedy", "hf-prompt-lookup"])
def test_what_drafts_nothing_has_nothing_to_sweep(label: str) -> None:
    with pytest.raises(UsageError, match="has nothing to sweep; allowed: alternatives"):
        swept(label, RunConfig())


def test_the_table_is_sorted_and_blank_where_nobody_knows(runs: list[BenchOptions]) -> None:
    result = run_sweep(options(sizes(range(1, 4))))
    lines = sweep_rows(result)
    assert [line["configuration"] for line in lines] == [f"nanospec:capacity={n}" for n in (3, 2, 1)]
    of_a_peer = attrs.evolve(result.standings[0], times=None)
    line = sweep_rows(SweepResult(result.rounds, [of_a_peer, *result.standings]))[0]
    assert (line["draft ms"], line["target ms"]) == ("", "")


def test_speeds_of_different_rounds_compare(runs: list[BenchOptions]) -> None:
    result = run_sweep(options(sizes(range(1, 13))))
    (first,) = (one for one in result.standings if speed(one.configuration) == 1)
    speeds = {line["configuration"]: float(line["tokens/s"]) for line in sweep_rows(result)}
    for label, shown in speeds.items():
        ratio = float(label.rpartition("=")[2])
        assert shown == pytest.approx(first.totals.tokens_per_s * ratio, abs=0.05)


def test_the_best_is_said_as_it_is_typed(runs: list[BenchOptions]) -> None:
    text = "nanospec:capacity=1,nanospec:capacity=2,drafter=eagle3,drafter.depth=4"
    assert best_line(run_sweep(options(text))) == (
        "best: --strategy nanospec --drafter eagle3 -o vocabulary.capacity=2 -o drafter.depth=4 "
        "(against nanospec:capacity=1: too few prompts to say)"
    )


def test_the_first_may_be_the_best(runs: list[BenchOptions]) -> None:
    assert best_line(run_sweep(options("nanospec:capacity=3|2"))) == "best: nanospec:capacity=3 as it is"
