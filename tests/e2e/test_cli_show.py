"""``specframe run --show`` and ``--html`` from the first argument to the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import CommandLine, Outcome

from specframe.contracts import records
from specframe.engine import assembly

PROMPT = "w5 w17 w42 w8"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def run(cli: CommandLine, tiny_directory: Path, tiny_head: Path) -> CommandLine:
    """``specframe run`` with the tiny model and a random EAGLE head."""

    def command(*arguments: object) -> Outcome:
        model = ("--model", tiny_directory, "--dtype", "float32", "--prompt", PROMPT, "--max-new-tokens", 12)
        head = ("-o", f"drafter.checkpoint={tiny_head}", "-o", "vocabulary.capacity=64")
        return cli("run", *model, *head, *arguments)

    return command


def text_of(outcome: Outcome) -> str:
    assert outcome.exit_code == 0, outcome.err
    return outcome.out.split("\n\n", 1)[0]


def test_the_text_is_marked_and_otherwise_the_same(run: CommandLine) -> None:
    shown = text_of(run("--show"))
    assert shown != text_of(run())
    assert re.sub(r"[\[\]{}+~!]", "", shown) == text_of(run())


def test_colours_leave_the_text_as_it_is(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = text_of(run())
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = text_of(run("--show"))
    assert "\x1b[" in shown
    assert ESCAPES.sub("", shown) == plain


def test_the_legend_adds_up(run: CommandLine) -> None:
    out = run("--show").out
    counts = re.findall(r" (\d+) \(\d+%\)", out.split("\n\n")[1])
    assert sum(map(int, counts)) == 12
    assert re.search(r"^\d+ of 12 tokens were drafted and accepted, tau ", out, re.MULTILINE)


def test_a_stop_string_is_not_shown(run: CommandLine) -> None:
    stop = text_of(run()).split()[3]
    assert re.sub(r"[\[\]{}+~!]", "", text_of(run("--show", "--stop", stop))) == text_of(run("--stop", stop))


@pytest.mark.parametrize("more", [(), ("--show",), ("--strategy", "autoregressive")], ids=str)
def test_a_page_is_written(run: CommandLine, tmp_path: Path, more: tuple[str, ...]) -> None:
    path = tmp_path / "page.html"
    assert run("--html", path, *more).exit_code == 0
    assert path.read_text(encoding="utf-8").count('role="option"') == 12
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]


def test_a_page_goes_with_json(run: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    outcome = run("--html", path, "--json")
    assert len(json.loads(outcome.out)["token_ids"]) == 12
    assert path.exists()


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*arguments: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(assembly, "build_engine", loads)


@pytest.mark.usefixtures("nothing_is_loaded")
def test_colours_and_json_are_refused_together(run: CommandLine) -> None:
    outcome = run("--show", "--json")
    assert (outcome.exit_code, outcome.complaint) == (
        2,
        "--show colours the text, and --json prints none; allowed: one of them",
    )


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_page_that_cannot_be_written_is_refused_before_the_model_is_loaded(
    run: CommandLine, tmp_path: Path
) -> None:
    assert run("--html", tmp_path).complaint == f"cannot write {tmp_path}: Is a directory"
    missing = tmp_path / "nowhere" / "page.html"
    assert run("--html", missing).complaint == f"cannot write {missing}: No such file or directory"


def test_a_page_that_fails_at_the_end_leaves_the_one_before(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("before", encoding="utf-8")

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.Path, "write_bytes", full)
    outcome = run("--html", path)
    assert outcome.err.splitlines() == [f"specframe: cannot write {path}: No space left on device"]
    assert (path.read_text(encoding="utf-8"), len(list(tmp_path.iterdir()))) == ("before", 1)
