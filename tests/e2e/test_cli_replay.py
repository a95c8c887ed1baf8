from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine
from traces import PROMPTS, endless_target, record, scripted_engine


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "t"
    record(scripted_engine(endless_target(), PROMPTS[0]), path, PROMPTS)
    return path


def test_replay_prints_a_row_per_strategy(cli: CommandLine, trace: Path) -> None:
    outcome = cli("replay", trace, "-s", "full,nanospec:capacity=20,harvest_topk=1")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert "3 requests, 88 target passes of tiny-llama (float32), recorded with full" in outcome.out
    rows = [
        line for line in outcome.out.splitlines() if line.startswith("nanospec:capacity=20,harvest_topk=1")
    ]
    assert len(rows) == 2, "one in the table of all requests, one in that of the tasks"


def test_replay_prints_json(cli: CommandLine, trace: Path) -> None:
    outcome = cli("replay", trace, "-s", "full,nanospec", "--json")
    content = json.loads(outcome.out)
    assert content["trace"]["strategy"] == "full"
    assert [one["strategy"] for one in content["strategies"]] == ["full", "nanospec"]
    assert content["strategies"][0]["overall"]["coverage"] == 1.0
    assert set(content["strategies"][1]["tasks"]) == {"task0", "task1"}
    assert content["pareto_front"][-1] == "full"


def test_replay_draws_a_picture(cli: CommandLine, trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "front.png"
    outcome = cli(
        "replay", trace, "-s", "full,nanospec,nanospec:capacity=20,static:size=1.0", "--plot", picture
    )
    assert outcome.exit_code == 2, "static has no frequencies for this tokenizer"
    assert not list(tmp_path.iterdir())
    outcome = cli("replay", trace, "-s", "full,nanospec,nanospec:capacity=20", "--plot", picture)
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["front.png"]


def test_a_picture_that_cannot_be_written_is_one_line(cli: CommandLine, trace: Path, tmp_path: Path) -> None:
    outcome = cli("replay", trace, "-s", "full", "--plot", tmp_path / "none" / "front.png")
    assert outcome.exit_code == 1
    assert outcome.complaint.startswith("cannot write ")


def test_replay_searches_options(cli: CommandLine, trace: Path, tmp_path: Path) -> None:
    arguments = ("replay", trace, "--tune", "nanospec:core=0,capacity=101", "--coverage-floor", 0.3)
    storage = ("--storage", tmp_path / "trials.db")
    outcome = cli(*arguments, *storage, "--trials", 6)
    assert outcome.exit_code == 0
    assert outcome.out.splitlines()[-1].startswith("--strategy nanospec -o vocabulary.core=0 ")
    assert (tmp_path / "trials.db.costs.json").is_file()
    again = cli(*arguments, *storage, "--trials", 6, "--json")
    assert json.loads(again.out)["trials"] == 6


def test_a_floor_that_is_not_reached_is_a_failure(cli: CommandLine, trace: Path) -> None:
    outcome = cli("replay", trace, "--tune", "nanospec:core=0", "--coverage-floor", 1, "--trials", 2)
    assert outcome.exit_code == 1
    assert outcome.complaint.startswith("none of 2 trials has a coverage of 1; allowed: more --trials")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-s", "nanospc"], "unknown strategy 'nanospc'"),
        (["--task", "x"], "has no task 'x'"),
        (["--limit-per-task", "0"], "--limit-per-task is 0; allowed: 1 or more"),
        (["--tune", "nanospec", "--coverage-floor", "2"], "--coverage-floor is 2.0; allowed: 0 to 1"),
        (["--tune", "nanospec", "--trials", "0"], "--trials is 0; allowed: 1 or more"),
        (["--tune", "nanospec,static"], "allowed: one strategy"),
        (["--tune", "nanospec", "-s", "full"], "--tune searches one strategy"),
    ],
)
def test_wrong_arguments_are_one_line(
    cli: CommandLine, trace: Path, arguments: list[str], complaint: str
) -> None:
    outcome = cli("replay", trace, *arguments)
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint


def test_a_file_that_is_no_trace_is_one_line(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("no trace")
    outcome = cli("replay", tmp_path / "t")
    assert outcome.exit_code == 2
    assert "is no trace; allowed: a file written by --record" in outcome.complaint
