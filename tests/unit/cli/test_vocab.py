"""`specframe vocab`: maps say what they lack and get it, and nothing is half written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import CommandLine
from safetensors.torch import load_file
from terminal import on_terminal
from tiny_models import tiny_target

from specframe.cli.answers import KeptAnswers
from specframe.contracts.report import GenerationReport
from specframe.engine.engine import Engine
from specframe.request.request import Request
from specframe.vocabulary.token_maps.reading import read_map


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("w40 w41 w40 w42 w42 w42")
    return path


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    """An index list as FR-Spec saves it, without the ids that end a text."""
    torch.save([42, 40, 41, 50], tmp_path / "freq.pt")
    return tmp_path / "freq.pt"


def test_a_text_is_counted_and_what_is_missing_added(
    cli: CommandLine, tiny_directory: Path, text: Path, tmp_path: Path
) -> None:
    outcome = cli("vocab", "build", tmp_path / "f.safetensors", "--text", text, "--model", tiny_directory)
    assert (outcome.exit_code, outcome.err) == (0, "")
    found = load_file(tmp_path / "f.safetensors")
    assert found["token_ids"].tolist() == [42, 40, 41, 0, 1, 2]
    assert found["counts"].tolist() == [3, 2, 1, 0, 0, 0]
    assert "added EOS: '<eos>' (1)\nadded special tokens: '<pad>' (0), '<unk>' (2)" in outcome.out


def test_prompts_of_a_task_file_are_counted(cli: CommandLine, tiny_directory: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(json.dumps({"id": "1", "task": "t", "turns": ["w9 w9 w8"]}))
    cli("vocab", "build", tmp_path / "f.json", "--tasks", tasks, "--model", tiny_directory)
    assert json.loads((tmp_path / "f.json").read_text()) == {"9": 2, "8": 1, "0": 0, "1": 0, "2": 0}


def test_what_the_target_writes_is_counted(cli: CommandLine, tiny_directory: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(json.dumps({"id": "1", "task": "t", "turns": ["w9 w9 w8"]}))
    outcome = cli(
        *("vocab", "build", tmp_path / "f.json", "--tasks", tasks, "--from-target"),
        *("--max-new-tokens", 5, "--model", tiny_directory),
    )
    assert sum(json.loads((tmp_path / "f.json").read_text()).values()) == 5, outcome
    assert "5 tokens that" in outcome.out


@pytest.fixture
def counting(tmp_path: Path, tiny_directory: Path) -> tuple[object, ...]:
    """A command that lets the target answer three prompts."""
    tasks = tmp_path / "tasks.jsonl"
    of_one = ({"id": str(number), "task": "t", "turns": [f"w9 w{number}"]} for number in (3, 4, 5))
    tasks.write_text("\n".join(map(json.dumps, of_one)))
    return (
        *("vocab", "build", tmp_path / "f.json", "--tasks", tasks, "--from-target"),
        *("--max-new-tokens", 5, "--model", tiny_directory),
    )


def test_an_interrupted_count_goes_on_where_it_was(
    cli: CommandLine, tmp_path: Path, counting: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, asked = Engine.generate, list[str]()

    def interrupted(engine: Engine, request: Request) -> GenerationReport:
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(str(request.prompt))
        return generate(engine, request)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "generate", interrupted)
        outcome = cli(*counting)
    said = "interrupted after 1 of 3 prompts; the same command goes on from there"
    assert (outcome.exit_code, outcome.complaint) == (130, said)
    assert not (tmp_path / "f.json").exists()

    def noted(engine: Engine, request: Request) -> GenerationReport:
        asked.append(str(request.prompt))
        return generate(engine, request)

    monkeypatch.setattr(Engine, "generate", noted)
    assert cli(*counting).exit_code == 0
    assert asked == ["w9 w3", "w9 w4", "w9 w5"]
    cli(*counting[:2], tmp_path / "at_once.json", *counting[3:])
    assert (tmp_path / "f.json").read_text() == (tmp_path / "at_once.json").read_text()
    assert not (tmp_path / ".f.json.answers").exists()


def test_answers_of_something_else_and_a_line_that_is_cut_off_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    KeptAnswers(path, {"model": "a"}).add("x", [1, 2])
    with path.open("a") as file:
        file.write('{"prompt": "')
    again = KeptAnswers(path, {"model": "a"})
    assert (again.get("x"), again.get("y")) == ([1, 2], None)
    again.add("y", [3])
    assert KeptAnswers(path, {"model": "a"}).get("y") == [3]
    assert KeptAnswers(path, {"model": "b"}).get("x") is None


@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_shows_how_far_a_count_is_unless_it_is_to_be_quiet(
    counting: tuple[object, ...], quiet: bool
) -> None:
    words = [*map(str, counting), *(["--quiet"] if quiet else [])]
    drawn = on_terminal(["-c", "from specframe.cli.app import main; main()", *words])
    assert (drawn.exit_code, "tokens that" in drawn.out) == (0, True)
    assert ("3 of 3 prompts" in drawn.text, drawn.terminal == "") == (not quiet, quiet)


@pytest.mark.parametrize(
    "arguments", [(), ("--text", "a.txt", "--from-target"), ("--text", "a", "--tasks", "b")]
)
def test_there_is_one_thing_to_count(cli: CommandLine, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    outcome = cli("vocab", "build", tmp_path / "f.json", *arguments)
    assert "allowed: --text, or --tasks and --from-target" in outcome.complaint


def test_an_index_list_becomes_d2t_and_back(
    cli: CommandLine, tiny_directory: Path, ids: Path, tmp_path: Path
) -> None:
    there, back = tmp_path / "d2t.safetensors", tmp_path / "back.pt"
    cli("vocab", "convert", ids, there, "--form", "d2t", "--model", tiny_directory)
    cli("vocab", "convert", there, back, "--model", tiny_directory)
    assert torch.load(back, weights_only=True) == [0, 1, 2, 40, 41, 42, 50]
    assert int(load_file(there)["t2d"].sum()) == 7


def test_a_conversion_says_how_much_of_a_text_is_covered(
    cli: CommandLine, tiny_directory: Path, tmp_path: Path, ids: Path
) -> None:
    text = tmp_path / "other.txt"
    text.write_text("w40 w60 w61 w62")
    outcome = cli("vocab", "convert", ids, tmp_path / "o.json", "--text", text, "--model", tiny_directory)
    assert "coverage: 0.250 of the 4 tokens of" in outcome.out


def test_an_inspection_names_what_is_missing_and_the_ends(
    cli: CommandLine, tiny_directory: Path, ids: Path, text: Path
) -> None:
    outcome = cli("vocab", "inspect", ids, "--text", text, "--model", tiny_directory)
    lines = dict(line.split("  ", 1) for line in outcome.out.splitlines())
    cells = {name: value.strip() for name, value in lines.items()}
    assert cells["tokens"] == "4 of 101 (4.0%)"
    assert cells["missing EOS"] == "'<eos>' (1)"
    assert cells["first"] == "'w42' (42), 'w40' (40), 'w41' (41), 'w50' (50)"
    assert cells["coverage"].startswith("1.000 of the 6 tokens")


def test_a_slice_keeps_the_most_frequent_and_what_every_drafter_needs(
    cli: CommandLine, tiny_directory: Path, ids: Path, tmp_path: Path
) -> None:
    cli("vocab", "slice", ids, tmp_path / "s.pt", "--size", 5, "--model", tiny_directory)
    assert torch.load(tmp_path / "s.pt", weights_only=True) == [42, 40, 0, 1, 2]


def test_a_slice_by_share_covers_it(
    cli: CommandLine, tiny_directory: Path, text: Path, tmp_path: Path
) -> None:
    whole, part = tmp_path / "f.safetensors", tmp_path / "p.safetensors"
    cli("vocab", "build", whole, "--text", text, "--model", tiny_directory)
    cli("vocab", "slice", whole, part, "--size", "0.8", "--model", tiny_directory)
    assert read_map(part, tiny_target()).token_ids.tolist() == [42, 40, 0, 1, 2]


@pytest.mark.parametrize(
    ("size", "complaint"),
    [
        ("8", "has 7 tokens with those that it lacks; allowed: at most that"),
        ("2", "size 2 does not hold the 3 ids"),
        ("0.9", "has no counts to take a coverage share of"),
        ("many", "allowed: a whole number of tokens from 1"),
    ],
)
def test_a_slice_that_cannot_be_had_leaves_nothing_behind(
    cli: CommandLine, tiny_directory: Path, ids: Path, tmp_path: Path, size: str, complaint: str
) -> None:
    outcome = cli("vocab", "slice", ids, tmp_path / "s.pt", "--size", size, "--model", tiny_directory)
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint
    assert not (tmp_path / "s.pt").exists()


def test_a_map_in_order_of_id_cannot_be_cut(cli: CommandLine, tiny_directory: Path, tmp_path: Path) -> None:
    torch.save([40, 41, 42, 50], tmp_path / "rising.pt")
    outcome = cli(
        *("vocab", "slice", tmp_path / "rising.pt", tmp_path / "s.pt", "--size", 4, "--model", tiny_directory)
    )
    assert "does not say which are frequent" in outcome.complaint


def test_a_map_for_a_larger_vocabulary_is_one_line(
    cli: CommandLine, tiny_directory: Path, tmp_path: Path
) -> None:
    torch.save([40, 32000], tmp_path / "llama.pt")
    outcome = cli("vocab", "inspect", tmp_path / "llama.pt", "--model", tiny_directory)
    assert "has ids from 40 to 32000; allowed: 0 to 100" in outcome.complaint


def test_nothing_is_loaded_for_a_file_that_is_not_there(cli: CommandLine, tmp_path: Path) -> None:
    outcome = cli("vocab", "inspect", tmp_path / "none.pt", "--model", "no-such-model")
    assert "cannot read" in outcome.complaint


def test_nothing_is_loaded_for_a_file_that_exists(cli: CommandLine, ids: Path) -> None:
    outcome = cli("vocab", "convert", ids, ids, "--model", "no-such-model")
    assert "freq.pt exists; allowed: a new file" in outcome.complaint


def test_nothing_is_loaded_for_a_folder_that_is_not_there(cli: CommandLine, tmp_path: Path) -> None:
    outcome = cli("vocab", "build", tmp_path / "no" / "f.json", "--from-target", "--model", "no-such-model")
    assert (
        outcome.complaint == f"{tmp_path / 'no'} is no folder to write f.json into; allowed: one that exists"
    )


def test_fewer_than_one_prompt_of_a_task_is_refused(cli: CommandLine, tmp_path: Path) -> None:
    outcome = cli("vocab", "build", tmp_path / "f.json", "--from-target", "--limit-per-task", -1)
    assert outcome.complaint == "--limit-per-task is -1; allowed: 1 or more"
