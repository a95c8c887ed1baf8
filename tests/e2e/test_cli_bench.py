"""``specframe bench`` from the first argument to the last row, on a tiny random model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from command_line import CommandLine, Outcome
from stranger import install_plugin

from specframe.bench import session
from specframe.bench.peers import Peer
from specframe.bench.rows import BenchRow, read_rows

PROMPTS = {"p0": "w5 w17 w42 w8", "p1": "w9 w10 w11 w12 w60", "p2": "w77 w70 w71", "p3": "w30 w31 w33 w4"}
NEW_TOKENS = 10
OURS = "autoregressive,full,nanospec:capacity=64"

_DOUBLES = """
import attrs
import torch
from specframe.contracts.protocols import VocabularyBuilder
from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl

NOTHING = torch.empty(0, dtype=torch.int64)

@attrs.frozen
class Options:
    pass

class Strategy(VocabularyBuilder):
    capacity = 64

    def __init__(self, target, pinned_ids):
        self.target, self.pinned_ids, self.seen = target, pinned_ids, []

    def start(self, prompt_ids, target_topk_ids):
        return prompt_ids

    def observe(self, verdict, tree, target_topk_ids):
        return torch.tensor(verdict.emitted_ids)

class Peeking(Strategy):
    def observe(self, verdict, tree, target_topk_ids):
        self.target.output_head.logits(torch.zeros(1, self.target.hidden_size))
        return super().observe(verdict, tree, target_topk_ids)

class Copying(Strategy):
    def start(self, prompt_ids, target_topk_ids):
        self.copy = self.target.output_head.weight.clone()
        return prompt_ids

class Leaking(Strategy):
    def observe(self, verdict, tree, target_topk_ids):
        self.seen += verdict.emitted_ids
        return torch.tensor(self.seen)

@hookimpl
def specframe_vocabularies():
    for cls in (Strategy, Peeking, Copying, Leaking):
        create = lambda options, context, cls=cls: cls(context.target, context.required_ids)
        yield Component(name=cls.__name__.lower(), summary="a stranger's", options=Options, factory=create)
"""


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    lines = [
        json.dumps({"id": name, "task": f"t{i % 2}", "turns": [text]})
        for i, (name, text) in enumerate(PROMPTS.items())
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def arguments(tiny_directory: Path, tiny_head: Path, task_file: Path) -> list[str]:
    return [
        *("bench", "--model", str(tiny_directory), "--dtype", "float32"),
        *("--max-new-tokens", str(NEW_TOKENS), "--tasks", str(task_file)),
        *("-o", f"drafter.checkpoint={tiny_head}"),
        *("--costs", "off"),
    ]


@pytest.fixture
def bench(cli: CommandLine, arguments: list[str]) -> CommandLine:
    """``specframe bench`` with the tiny model, its random head, four prompts and a short length limit."""

    def run(*more: object) -> Outcome:
        return cli(*arguments, *more)

    return run


@pytest.fixture
def doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An honest strategy, and three that do what they do not say."""
    site = tmp_path / "site"
    site.mkdir()
    install_plugin(site, "test-doubles", _DOUBLES)
    monkeypatch.syspath_prepend(str(site))


def manifest(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".meta.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_every_prompt_is_answered_by_all_in_rotating_order(bench: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    outcome = bench("-s", OURS, "--json", out)
    assert outcome.exit_code == 0, outcome.err
    rows = read_rows(out)
    labels = ["autoregressive", "full", "nanospec:capacity=64"]
    expected = [
        (prompt, labels[(turn + order) % 3], order)
        # Kinds of tasks take turns.
        for turn, prompt in enumerate(["p0", "p1", "p2", "p3"])
        for order in range(3)
    ]
    assert [(row.report.id, row.configuration, row.order) for row in rows] == expected


def test_the_rows_say_what_happened(bench: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert bench("-s", f"{OURS},hf-greedy,hf-prompt-lookup", "--json", out).exit_code == 0
    rows = read_rows(out)
    of_first = {row.configuration: row for row in rows if row.report.id == "p0"}
    baseline, ours = of_first["autoregressive"], of_first["nanospec:capacity=64"]
    assert {tuple(row.report.token_ids) for row in of_first.values()} == {tuple(baseline.report.token_ids)}
    assert baseline.lossless is not None
    assert baseline.lossless.equal is None
    for row in rows:
        assert row.lossless is not None
        assert row.lossless.passed
        assert row.lossless.equal is not False
    assert ours.steps is not None
    assert sum(ours.steps.emitted) == ours.report.new_tokens - 1
    assert len(ours.steps.active_size) == ours.report.target_passes
    # Pinned ids have their rows already; everything else that is active was fetched once.
    assert ours.steps.active_size[0] - ours.steps.rows_fetched[0] == 3
    assert {name for name, value in attrs.asdict(ours.report).items() if value is None} == {
        "drafts",
        "costs",
        "cost_error",
        "fallback",
        "logprobs",
    }
    assert ours.packed_bytes == 64 * 64 * 4
    assert ours.head_bytes == 2 * 101 * 64 * 4  # and the copy that the CPU multiplies by
    assert of_first["full"].packed_bytes == 0
    peer = of_first["hf-greedy"]
    assert peer.steps is None
    assert peer.report.tau == 1.0
    assert of_first["hf-prompt-lookup"].report.target_passes <= peer.report.target_passes


def test_the_manifest_says_how_the_rows_came_about(
    bench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    assert bench("-s", OURS, "--json", out).exit_code == 0
    found = manifest(out)
    assert found["finished"]
    assert found["command"].startswith("specframe bench --model ")
    assert found["settings"]["max_new_tokens"] == NEW_TOKENS
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["target"]["vocab_size"] == 101
    assert {one["passed"] for one in found["findings"]} == {True}


def test_a_finished_benchmark_is_only_shown_again(bench: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    first = bench("-s", OURS, "--json", out)
    content = out.read_bytes()
    again = bench("-s", OURS, "--json", out)
    assert again.exit_code == 0
    assert out.read_bytes() == content
    assert again.out == first.out


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["--max-new-tokens", "9"], "was begun with max new tokens 10, this is 9"),
        (["-s", "full"], "was begun with configurations full, autoregressive, this is full"),
        (["--limit-per-task", "1"], "was begun with prompts 4, this is 2"),
        (["--seed", "3"], "was begun with seed 0, this is 3"),
    ],
)
def test_a_benchmark_is_not_continued_under_other_conditions(
    change: list[str], complaint: str, bench: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    strategies = [] if "-s" in change else ["-s", "full,autoregressive"]
    assert bench("-s", "full,autoregressive", "--json", out).exit_code == 0
    content = out.read_bytes()
    outcome = bench(*strategies, *change, "--json", out)
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint
    assert out.read_bytes() == content


def test_rows_without_a_manifest_are_not_touched(bench: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("something of the user's\n", encoding="utf-8")
    outcome = bench("-s", "full", "--json", out)
    assert outcome.exit_code == 2
    assert "has rows but no out.meta.json beside it" in outcome.complaint
    assert out.read_text(encoding="utf-8") == "something of the user's\n"


def rows_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_at_work(arguments: list[str], out: Path) -> None:
    """Run the command line and kill it as soon as there are more rows than before."""
    before = rows_in(out)
    command = [sys.executable, "-P", "-c", "from specframe.cli.app import main; main()", *arguments]
    with subprocess.Popen([*command, "--json", str(out)], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while rows_in(out) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was over too soon"


def without_times(row: BenchRow) -> tuple[object, ...]:
    return row.report.id, row.configuration, row.order, row.report.token_ids, row.steps, row.lossless


def test_a_benchmark_that_is_killed_twice_loses_and_doubles_no_row(
    bench: CommandLine, arguments: list[str], tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    # Long enough that a kill meets the run at work.
    more = ["--max-new-tokens", "200", "-s", "full,autoregressive", "--threads", str(torch.get_num_threads())]
    for _ in range(2):
        kill_at_work([*arguments, *more], out)
        assert not manifest(out)["finished"]
        with out.open("ab") as file:  # as if a write had been interrupted too
            file.write(b'{"id": "p')
    assert 2 < rows_in(out) < 8
    assert bench(*more, "--json", out).exit_code == 0
    assert bench(*more, "--json", whole).exit_code == 0
    assert list(map(without_times, read_rows(out))) == list(map(without_times, read_rows(whole)))
    assert manifest(out)["finished"]


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize(
    ("strategy", "check", "message"),
    [
        ("peeking", "head reads", "one operation reads 101 rows of the LM head while drafting (vocabulary)"),
        ("copying", "head reads", "one operation reads 101 rows of the LM head while drafting (vocabulary)"),
        ("leaking", "isolation", "something of earlier requests is left"),
    ],
)
def test_a_strategy_that_claims_what_it_does_not_do_is_exposed(
    strategy: str, check: str, message: str, bench: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    outcome = bench("-s", f"strategy,{strategy}", "--json", out)
    assert outcome.exit_code == 1
    assert f"{strategy} fails the check '{check}'" in outcome.err
    assert message in outcome.err
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("FAILED")]
    assert line.startswith(f"FAILED: {strategy}, {check}: ")
    assert len(read_rows(out)) == 8
    failed = [one for one in manifest(out)["findings"] if not one["passed"]]
    assert [(one["configuration"], one["check"]) for one in failed] == [(strategy, check)]


def test_prompts_of_a_benchmark_are_no_turns_of_a_conversation(bench: CommandLine) -> None:
    outcome = bench("-s", "full:drafter=suffix,warm=conversation")
    assert (outcome.exit_code, outcome.complaint) == (
        2,
        "warm is conversation, and prompts of a benchmark are no turns of one; allowed: off or shared",
    )


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("strategy", ["strategy", "exact-screen", "lowrank:candidates=16,rank=8"])
def test_an_honest_strategy_passes_all_checks(bench: CommandLine, strategy: str) -> None:
    outcome = bench("-s", strategy)
    assert outcome.exit_code == 0, outcome.err
    assert "4 checks passed (head reads, lossless, rows fetched, isolation)" in outcome.out


def test_a_divergence_beyond_a_tie_fails_the_command_after_the_rows_are_written(
    bench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Peer._generate

    def dishonest(self: Peer, *given: Any) -> list[int]:
        ids = honest(self, *given)
        return [*ids[:3], (ids[3] + 1) % 101, *ids[4:]]

    monkeypatch.setattr(Peer, "_generate", dishonest)
    out = tmp_path / "out.jsonl"
    outcome = bench("-s", "autoregressive,hf-greedy", "--json", out)
    assert outcome.exit_code == 1
    assert "hf-greedy fails the check 'lossless': prompt p0: a token is" in outcome.err
    assert "first divergence at token 3; 3 more prompts" in outcome.err
    assert "FAILED: 4 of 4" in outcome.out
    peers = [row for row in read_rows(out) if row.configuration == "hf-greedy"]
    assert [row.lossless.divergence for row in peers if row.lossless] == [3, 3, 3, 3]


def test_without_a_baseline_re_scoring_alone_decides(
    bench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    assert bench("-s", "full", "--json", out).exit_code == 0
    assert {row.lossless.equal for row in read_rows(out) if row.lossless} == {None}
    assert bench("-s", "full", "--json", tmp_path / "strict.jsonl", "--tolerance", "0").exit_code == 0


def test_texts_that_were_sampled_are_not_called_lossless(bench: CommandLine, tmp_path: Path) -> None:
    config, out = tmp_path / "sampled.toml", tmp_path / "out.jsonl"
    config.write_text("temperature = 0.8\n", encoding="utf-8")
    outcome = bench("-s", "autoregressive", "--config", config, "--json", out)
    assert outcome.exit_code == 0
    assert "not checked" in outcome.out
    assert {row.lossless for row in read_rows(out)} == {None}


def test_a_malformed_line_stops_the_command_unless_it_may_be_skipped(
    bench: CommandLine, task_file: Path, tmp_path: Path
) -> None:
    with task_file.open("a", encoding="utf-8") as file:
        file.write("\nnot a task\n")
    out = tmp_path / "out.jsonl"
    outcome = bench("-s", "full", "--json", out)
    assert outcome.exit_code == 2
    assert "tasks.jsonl, line 5: not JSON" in outcome.complaint
    assert not out.exists()
    outcome = bench("-s", "full", "--json", out, "--skip-bad")
    assert outcome.exit_code == 0
    assert "left out 1 malformed line" in outcome.err
    assert manifest(out)["skipped"] == 1


def test_a_prompt_that_is_too_long_is_named_before_anything_runs(
    bench: CommandLine, task_file: Path, tmp_path: Path
) -> None:
    with task_file.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"id": "long", "task": "t0", "turns": ["w5 " * 300]}) + "\n")
    outcome = bench("-s", "full", "--json", tmp_path / "out.jsonl")
    assert outcome.exit_code == 2
    assert "prompt long has 300 tokens; allowed: 1 to 246" in outcome.complaint
    outcome = bench("-s", "full", "--skip-bad")
    assert outcome.exit_code == 0
    assert "left out 1 prompt that does not fit into the target, the first: long" in outcome.err


@pytest.mark.parametrize(
    ("arguments_", "complaint"),
    [
        (["-s", "nanospc"], "did you mean 'nanospec'?"),
        (["-s", "hf-gredy"], "did you mean 'hf-greedy'?"),
        (["-s", "nanospec:capcity=3"], "did you mean 'capacity'?"),
        (["-s", "hf-greedy:x=3"], "unknown option of peer 'hf-greedy' 'x'"),
        (["--limit-per-task", "0"], "--limit-per-task is 0; allowed: 1 or more"),
        (["--skip-per-task", "9"], "no task has more than 9 prompts"),
        (["--tolerance", "-1"], "--tolerance is -1; allowed: 0 or more"),
    ],
)
def test_what_is_typed_wrong_is_one_line(arguments_: list[str], complaint: str, bench: CommandLine) -> None:
    outcome = bench(*arguments_)
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint


def test_nothing_is_run_when_the_rows_cannot_be_written(
    bench: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "build_engine", None)  # whoever runs something fails otherwise
    (tmp_path / "file").write_text("", encoding="utf-8")
    outcome = bench("-s", "full", "--json", tmp_path / "file" / "out.jsonl")
    assert outcome.exit_code == 1
    assert "cannot write" in outcome.complaint
    assert "Not a directory" in outcome.complaint


def test_a_disk_that_fills_up_is_one_line(bench: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.symlink_to("/dev/full")
    outcome = bench("-s", "full", "--json", out)
    assert outcome.exit_code == 1
    assert "out.jsonl: No space left on device" in outcome.err.splitlines()[-1]


def test_a_sweep_ends_with_the_best_options_and_goes_on_where_it_was_interrupted(
    bench: CommandLine, tmp_path: Path
) -> None:
    swept = ["--sweep", "-s", "nanospec:capacity=64,drafter.depth=1|2|3,drafter.nodes=4|8"]
    out = tmp_path / "out.jsonl"
    outcome = bench(*swept, "--json", out, "--report", tmp_path / "report")
    assert outcome.exit_code == 0, outcome.err
    first, second = (tmp_path / f"out.round{n}.jsonl" for n in (1, 2))
    # Two prompts of all, then two more of the faster half; the first configuration is always there.
    assert rows_in(first) == 12
    assert rows_in(second) in (6, 8)
    assert "best: " in outcome.out
    assert (tmp_path / "report" / "sweep.png").exists()
    finalists = {row.configuration for row in read_rows(second)}
    second.unlink()
    assert bench(*swept, "--json", out).exit_code == 0
    assert {row.configuration for row in read_rows(second)} == finalists


def test_a_sweep_records_no_trace(bench: CommandLine, tmp_path: Path) -> None:
    outcome = bench("--sweep", "--record", tmp_path / "trace")
    assert outcome.exit_code == 2
    assert "--record is given with --sweep; allowed: one of them" in outcome.err
