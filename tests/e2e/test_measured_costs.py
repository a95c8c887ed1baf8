"""Costs from a measurement, from the cache and from a file: what decides, what is said, and what is left."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from time import perf_counter
from typing import Any

import attrs
import pytest
import torch
from command_line import CommandLine
from paper_machines import FLAT, IN_PROPORTION, paper_costs
from tiny_engines import PROMPT, endless_target, repetitive_target
from tiny_models import reference_greedy, tiny_model, tiny_tokenizer

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.costs.file import read_costs, write_costs
from specframe.costs.model import CostModel
from specframe.engine import measuring
from specframe.engine.assembly import build_engine
from specframe.engine.drafting.planned import PlannedDrafting
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError, UsageError
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.ops import contention
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.gathers.torch import TorchGather


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("heads") / "head"
    save_head(EagleHead(EagleConfig.for_target(endless_target().config)), folder)
    return folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other program is seen, whatever runs beside the tests."""
    monkeypatch.setattr(contention, "QUIET", math.inf)


def engine_for(head: Path, target: Target | None = None, **settings: Any) -> Engine:
    options = {"drafter": {"checkpoint": str(head)}, "vocabulary": {"capacity": 60, "prompt_window": 4}}
    target = target or repetitive_target()
    return build_engine(RunConfig(dtype="float32", options=options, **settings), target=target)


def planned(engine: Engine) -> PlannedDrafting:
    assert isinstance(engine.drafting, PlannedDrafting)
    return engine.drafting


def steps(engine: Engine) -> list[tuple[Any, ...]]:
    return [(step.draft, step.tree_nodes, step.active_size, step.emitted_ids) for step in engine.steps]


def test_costs_are_measured_once_kept_and_said_in_one_line(
    head: Path, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = engine_for(head)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("specframe: measured what tiny-llama costs in float32 on ")
    (path,) = measured.iterdir()
    assert read_costs(path) == planned(first).costs
    again = engine_for(head)
    assert capsys.readouterr().err == ""
    assert planned(again).costs == planned(first).costs


def test_costs_measured_beside_other_programs_are_not_kept(
    head: Path, measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contention, "QUIET", -1.0)
    assert planned(engine_for(head)).costs is not None
    assert capsys.readouterr().err.strip().endswith("while other programs ran, so not for good)")
    assert not measured.exists()


def test_short_requests_tell_together_that_a_machine_is_another(head: Path, measured: Path) -> None:
    engine = engine_for(head)
    drafting = planned(engine)
    before, requests = drafting.costs, 0
    engine.clock = Slow(drafting, 3.0)  # type: ignore[assignment]
    while drafting.costs == before and requests < 40:
        engine.generate(PROMPT, 5)
        requests += 1
    assert 1 < requests < 40
    assert drafting.costs.pass_s(1) == pytest.approx(3 * before.pass_s(1), rel=0.2)


@pytest.mark.parametrize("factor", [8.0, 0.1])
def test_a_head_that_was_misjudged_grossly_is_found_out(head: Path, factor: float) -> None:
    engine = engine_for(head, endless_target())
    drafting = planned(engine)
    truth = drafting.costs
    drafting.costs, drafting._keep = dearer(truth, factor), lambda costs: None
    engine.clock = Truth(drafting, truth)  # type: ignore[assignment]
    for _ in range(30):
        engine.generate(PROMPT, 100)
    assert drafting.costs.draft_s == pytest.approx(truth.draft_s, rel=0.5)


def dearer(costs: CostModel, factor: float) -> CostModel:
    """The same costs but for drafts of the head, which take so many times as long."""
    return attrs.evolve(
        costs, draft_s=costs.draft_s * factor, level_s=costs.level_s.scaled(factor),
        head_s=costs.head_s.scaled(factor), wide_head_s=costs.wide_head_s.scaled(factor),
        whole_s=costs.whole_s.scaled(factor),
    )  # fmt: skip


def test_what_other_programs_cost_is_forgotten_when_they_are_over(
    head: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_for(head, endless_target())
    (path,) = measured.iterdir()
    alone = attrs.evolve(paper_costs(FLAT), setup=read_costs(path).setup)
    write_costs(path, alone)
    engine = engine_for(head, endless_target())
    drafting = planned(engine)
    monkeypatch.setattr(contention, "QUIET", -1.0)
    engine.clock = Truth(drafting, dearer(alone, 30.0))  # type: ignore[assignment]
    for _ in range(6):
        engine.generate(PROMPT, 100)
    assert drafting.costs.draft_s > 5 * alone.draft_s
    monkeypatch.setattr(contention, "QUIET", math.inf)
    engine.clock = Truth(drafting, alone)  # type: ignore[assignment]
    engine.generate(PROMPT, 100)
    assert drafting.costs == alone
    assert read_costs(path) == alone


@pytest.mark.parametrize(
    ("followed", "factor", "again"), [(True, 1e4, True), (True, 1e-4, False), (False, 1e4, False)]
)
def test_kept_costs_that_followed_steps_and_stop_the_head_are_measured_again(
    head: Path, measured: Path, followed: bool, factor: float, again: bool
) -> None:
    first = planned(engine_for(head)).costs
    (path,) = measured.iterdir()
    kept = attrs.evolve(dearer(first, factor), followed=followed)
    write_costs(path, kept)
    assert (planned(engine_for(head)).costs != kept) == again


def test_by_default_measured_costs_decide_and_the_output_is_the_targets(head: Path, measured: Path) -> None:
    engine = engine_for(head)
    report = engine.generate(PROMPT, 40)
    assert report.token_ids == reference_greedy(engine.target.model, torch.tensor(PROMPT), 40)
    assert report.drafts is not None
    assert sum(attrs.astuple(report.drafts)) == report.target_passes
    assert report.cost_error is not None


@pytest.mark.parametrize("other", [{"drafter": "lookup"}, {"strategy": "full"}])
def test_another_drafter_is_measured_for_itself_and_another_strategy_is_not(
    head: Path, measured: Path, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_SECONDS", 0.0)
    engine_for(head)
    config = RunConfig(dtype="float32", options={"drafter": {"checkpoint": str(head)}})
    config = attrs.evolve(config, options={} if "drafter" in other else config.options, **other)
    build_engine(config, target=repetitive_target())
    assert len(list(measured.iterdir())) == (1 if "strategy" in other else 2)


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    head: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_SECONDS", 0.0)
    measured.write_text("in the way", encoding="utf-8")
    assert engine_for(head).generate(PROMPT, 4).new_tokens == 4


def test_a_broken_cache_is_measured_again(
    head: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_SECONDS", 0.0)
    engine_for(head)
    (path,) = measured.iterdir()
    path.write_text("{}", encoding="utf-8")
    engine = engine_for(head)
    assert planned(engine).costs == read_costs(path)


def test_the_measurement_leaves_nothing_behind(head: Path, measured: Path) -> None:
    target = repetitive_target()
    before = engine_for(head, target, costs="off")
    expected, key, said = before.generate(PROMPT, 20, turn_of=(key := object())).token_ids, key, [*PROMPT]
    engine = engine_for(head, target)
    assert engine.generate(PROMPT, 20).token_ids == expected
    said += [*expected, 7, 8]
    another = build_engine(RunConfig(dtype="float32", drafter="lookup"), target=target)  # measures too
    assert planned(another).costs.setup.drafter == "lookup"
    report = before.generate(said, 12, turn_of=key)
    assert report.token_ids == reference_greedy(target.model, torch.tensor(said), 12)


def test_a_request_that_waits_for_its_consumer_does_not_go_on_over_a_measurement(
    head: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_SECONDS", 0.0)
    target = repetitive_target()
    chunks = engine_for(head, target, costs="off").stream(PROMPT, 20)
    next(chunks)
    engine_for(head, target)
    with pytest.raises(SpecframeError, match="the target was used for something else"):
        next(chunks)


@pytest.mark.parametrize("drafter", ["draft-model", "lookup"])
def test_a_tiny_vocabulary_is_measured_too(measured: Path, drafter: str) -> None:
    target = Target(LoadedModel(tiny_model("llama", vocab_size=5), tiny_tokenizer(5), "five"))
    options = {"drafter": {"layers": 1}} if drafter == "draft-model" else {}
    engine = build_engine(RunConfig(dtype="float32", drafter=drafter, options=options), target=target)
    assert planned(engine).costs.pass_s(1) > 0


def test_a_measurement_leaves_random_numbers_as_they_are(head: Path, measured: Path) -> None:
    target = repetitive_target()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    engine_for(head, target)
    assert torch.equal(torch.rand(3), expected)


def test_a_request_that_drafts_nothing_says_nothing_of_the_costs_of_one_that_was_left(head: Path) -> None:
    engine = engine_for(head, endless_target())
    chunks = engine.stream(PROMPT, 40)
    for _ in range(8):
        next(chunks)
    chunks.close()
    report = engine.generate(PROMPT, 1)
    assert (report.costs, report.cost_error) == (None, None)


class SlowTime:
    """A clock that hardly moves unless a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


@pytest.mark.parametrize(("seconds", "most"), [(10.0, 3), (0.4, 5), (0.0001, 10**6)])
def test_a_slow_target_is_measured_by_few_passes(
    head: Path, measured: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, most: int
) -> None:
    time, target, passes = SlowTime(), endless_target(), []
    tree_pass = target.tree_pass

    def slow(tree: Any) -> Any:
        passes.append(len(tree))
        time.now += seconds
        return tree_pass(tree)

    monkeypatch.setattr(measuring, "perf_counter", time)
    monkeypatch.setattr(target, "tree_pass", slow)
    costs = planned(engine_for(head, target)).costs
    assert len(passes) <= most
    assert {1, 8} <= set(passes)
    assert costs.pass_s(8) == pytest.approx(seconds, rel=0.1)


def test_a_slow_head_is_called_few_times(head: Path, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time, calls = SlowTime(), []
    topk = TorchGather.topk

    def slow(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        time.now += 1.0
        return topk(self, *arguments)

    monkeypatch.setattr(measuring, "perf_counter", time)
    monkeypatch.setattr(TorchGather, "topk", slow)
    engine_for(head)
    # Two for each of the sizes, and six drafts of up to three levels.
    assert len(calls) < 35


@pytest.mark.parametrize("model_type", ["llama", "gemma3"])
def test_the_curves_of_a_measurement_are_those_of_a_machine(
    head: Path, measured: Path, model_type: str
) -> None:
    target = endless_target(model_type)
    config = RunConfig(dtype="float32", drafter="draft-model", options={"drafter": {"layers": 2}})
    costs = planned(build_engine(config, target=target)).costs
    assert 0 < costs.pass_s(1) <= costs.pass_s(32)
    assert costs.head(1, None) > 0
    assert costs.draft([costs.width], 512) > costs.draft([], 512) > 0
    assert (costs.setup.model, costs.setup.drafter) == (f"tiny-{model_type}", "draft-model")


def jittered(seed: int) -> PhaseClock:
    source = random.Random(seed)
    return PhaseClock(now=lambda: perf_counter() * source.uniform(0.2, 5.0))


def test_a_pinned_file_and_the_same_request_give_the_same_trees_whatever_the_time(
    head: Path, tmp_path: Path, measured: Path
) -> None:
    path, found = tmp_path / "pinned.json", []
    for seed in range(3):
        engine = engine_for(head, costs=str(path))
        if not seed:
            pinned = attrs.evolve(
                paper_costs({1: 20.0, 2: 22.0, 4: 24.0, 8: 31.0, 16: 47.0}), setup=read_costs(path).setup
            )
            write_costs(path, pinned)
            engine = engine_for(head, costs=str(path))
        engine.clock = jittered(seed)
        for _ in range(2):
            engine.generate(PROMPT, 60)
            found.append(steps(engine))
        assert planned(engine).costs == pinned
    assert all(one == found[0] for one in found)
    assert read_costs(path) == pinned


def test_a_pinned_file_that_is_not_there_is_written(head: Path, tmp_path: Path, measured: Path) -> None:
    path = tmp_path / "folder" / "pinned.json"
    engine = engine_for(head, costs=str(path))
    assert read_costs(path) == planned(engine).costs
    assert not measured.exists()


def test_a_pinned_file_of_something_else_is_refused(head: Path, tmp_path: Path) -> None:
    write_costs(path := tmp_path / "costs.json", paper_costs())
    with pytest.raises(UsageError, match="was measured with model paper, and this run has tiny-llama"):
        engine_for(head, costs=str(path))


@pytest.mark.parametrize("name", ["of", "sometimes/", "costs.txt"])
def test_a_file_that_is_not_there_and_not_called_json_is_refused(
    head: Path, tmp_path: Path, measured: Path, name: str
) -> None:
    with pytest.raises(UsageError, match=r"there is no file of costs .*allowed: auto, off, or a file"):
        engine_for(head, costs=f"{tmp_path}/{name}")
    assert not measured.exists()


def test_without_costs_trees_have_a_fixed_size_and_nothing_is_measured(
    head: Path, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = engine_for(head, costs="off")
    report = engine.generate(PROMPT, 30)
    assert (report.drafts, report.costs, report.cost_error) == (None, None, None)
    assert not measured.exists()
    assert capsys.readouterr().err == ""


def test_autoregressive_decoding_measures_nothing(measured: Path) -> None:
    build_engine(RunConfig(dtype="float32", strategy="autoregressive"), target=endless_target())
    assert not measured.exists()


class Slow:
    """A clock by which everything takes so many times as long as the costs say."""

    def __init__(self, drafting: PlannedDrafting, factor: float) -> None:
        self._drafting, self._factor = drafting, factor
        self._seconds: dict[Any, float] = {}

    def start(self) -> None:
        self._seconds = {}

    def lap(self, phase: Any) -> None:
        self._seconds[phase] = self._seconds.get(phase, 0.0)

    @property
    def seconds(self) -> dict[Any, float]:
        return {"target_pass": 1.0}

    def split(self) -> dict[Any, float]:
        budget = self._drafting.budget
        branches = budget._step.branches
        nodes = 1 if branches is None else len(branches)
        return {
            "target_pass": self._factor * budget.pass_s(nodes),
            "draft_head": self._factor * budget.expected_draft_s,
        }


class Truth(Slow):
    """A clock of a machine whose costs are not those that the engine goes by."""

    def __init__(self, drafting: PlannedDrafting, costs: CostModel) -> None:
        super().__init__(drafting, 1.0)
        self._costs = costs

    def split(self) -> dict[Any, float]:
        budget = self._drafting.budget
        known, budget._costs = budget._costs, self._costs
        seconds = super().split()
        budget._costs = known
        return seconds


@pytest.mark.parametrize("factor", [3.0, 0.4])
def test_a_machine_that_turns_out_to_be_another_is_measured_in_use(
    head: Path, measured: Path, factor: float
) -> None:
    engine = engine_for(head)
    drafting = planned(engine)
    before = drafting.costs
    engine.clock = Slow(drafting, factor)  # type: ignore[assignment]
    for chunk in (chunks := engine.stream(PROMPT, 60)):
        assert chunk is not None
        assert drafting.costs == before, "costs changed while a request ran"
    chunks.close()
    assert drafting.costs.pass_s(1) == pytest.approx(factor * before.pass_s(1), rel=0.2)
    (path,) = measured.iterdir()
    assert read_costs(path) == drafting.costs
    assert engine.report is not None
    assert engine.report.costs == before.name, "the report names costs that its request did not go by"
    assert engine.report.cost_error == pytest.approx(abs(1 - factor) / factor, rel=0.01)


def test_a_machine_that_keeps_to_its_costs_leaves_the_file_as_it_is(head: Path, measured: Path) -> None:
    engine = engine_for(head)
    (path,) = measured.iterdir()
    before = path.read_bytes()
    engine.clock = Slow(planned(engine), 1.05)  # type: ignore[assignment]
    engine.generate(PROMPT, 60)
    assert path.read_bytes() == before


def test_pinned_costs_never_change(head: Path, tmp_path: Path, measured: Path) -> None:
    path = tmp_path / "pinned.json"
    engine = engine_for(head, costs=str(path))
    before = path.read_bytes()
    engine.clock = Slow(planned(engine), 5.0)  # type: ignore[assignment]
    engine.generate(PROMPT, 60)
    assert path.read_bytes() == before
    assert planned(engine).costs == read_costs(path)


@pytest.fixture
def run(cli: CommandLine, tiny_directory: Path, tiny_head: Path) -> CommandLine:
    def command(*more: object) -> Any:
        return cli(
            *("run", "--model", tiny_directory, "--dtype", "float32", "--prompt", "w5 w17 w42"),
            *("-o", f"drafter.checkpoint={tiny_head}", "--max-new-tokens", 20, *more),
        )

    return command


def test_the_command_line_pins_costs_in_a_file(run: CommandLine, tmp_path: Path, measured: Path) -> None:
    path = tmp_path / "costs.json"
    first, again = (json.loads(run("--json", "--costs", path).out) for _ in range(2))
    assert first["costs"] == again["costs"] == read_costs(path).name
    assert first["drafts"] == again["drafts"]


@pytest.mark.parametrize("text", ["", "{}", '{"pass_s": 1}'])
def test_a_file_that_holds_no_costs_is_one_line_and_exit_code_2(
    run: CommandLine, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text, encoding="utf-8")
    outcome = run("--costs", path)
    assert outcome.exit_code == 2
    assert f"specframe: {path} holds no measured costs (" in outcome.err


def test_costs_of_another_model_are_one_line_and_exit_code_2(run: CommandLine, tmp_path: Path) -> None:
    write_costs(path := tmp_path / "costs.json", paper_costs(IN_PROPORTION))
    outcome = run("--costs", path)
    assert outcome.exit_code == 2
    assert "was measured with model paper, and this run has" in outcome.err


def test_a_file_that_cannot_be_written_is_one_line_and_exit_code_1(
    run: CommandLine, tmp_path: Path, measured: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    outcome = run("--costs", tmp_path / "file" / "costs.json")
    assert outcome.exit_code == 1
    assert "specframe: cannot write" in outcome.err.splitlines()[-1]


def test_the_command_line_does_without_costs(run: CommandLine, measured: Path) -> None:
    outcome = run("--json", "--costs", "off")
    assert json.loads(outcome.out)["drafts"] is None
    assert not measured.exists()


def test_paper_costs_decide_where_a_test_asks_for_none(head: Path) -> None:
    costs = planned(engine_for(head)).costs
    assert attrs.evolve(costs, setup=paper_costs().setup, width=4) == paper_costs()
    assert costs != paper_costs(FLAT)
