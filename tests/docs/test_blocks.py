"""Every code block of README and docs is run, or says why it is not; what is not run is read at least."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from command_line import CommandLine
from doc_blocks import CODE, ELSEWHERE, ROOT, SHOWN, Block, blocks, write_files
from doc_commands import check_arguments, check_file, command_lines, command_names, specframe_arguments
from typer.exceptions import TyperException

from specframe.errors import SpecframeError

BLOCKS = blocks()
DATA = [pytest.param(block, id=block.place) for block in BLOCKS if block.language in ("toml", "json")]
COMMANDS = [
    pytest.param(block.page, arguments, id=f"{block.place}-{number}")
    for block in BLOCKS
    if block.language in ("sh", "console") and (block.page, block.language) not in ELSEWHERE
    for number, line in enumerate(command_lines(block.text, block.language))
    for arguments in specframe_arguments(line)
]


def test_the_blocks_are_found() -> None:
    assert {block.page for block in BLOCKS} >= {"README.md", "docs/index.md", "docs/python.md"}
    assert len(COMMANDS) > 50


def test_every_block_says_what_it_is_written_in() -> None:
    assert [block.place for block in BLOCKS if block.language not in (*CODE, *SHOWN)] == []


def test_what_is_shown_and_not_code_needs_no_reason() -> None:
    assert [block.place for block in BLOCKS if block.reason and block.language in SHOWN] == []


@pytest.mark.parametrize(("page", "language"), ELSEWHERE, ids="-".join)
def test_what_another_test_runs_is_there(page: str, language: str) -> None:
    test = ROOT / ELSEWHERE[page, language]
    assert page.removeprefix("docs/") in test.read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "arguments"), COMMANDS)
def test_the_command_line_takes_what_a_page_types(
    page: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(page, tmp_path)
    check_arguments(arguments)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("bnch", "bnch"),
        ("run --strategie full", "--strategie"),
        ("run --drafter lokup", "lokup"),
        ("run -o vocabulary.capcity=64", "capcity"),
        ("bench -s full,nanospc:capacity=64", "nanospc"),
        ("bench -s static:size=8192,drafter.noes=3", "noes"),
        ("replay t.trace --tune nanospec:cor=0", "cor"),
        ("train --out head -o tokns=3", "tokns"),
    ],
)
def test_what_the_command_line_would_not_take_is_found(typed: str, said: str) -> None:
    with pytest.raises((SpecframeError, TyperException)) as refused:
        check_arguments(typed.split())
    assert said in getattr(refused.value, "message", str(refused.value))


@pytest.mark.parametrize("block", DATA)
def test_a_file_that_a_page_shows_can_be_read(block: Block, tmp_path: Path, cli: CommandLine) -> None:
    if block.language == "json":
        json.loads(block.text)
        return
    tables = tomllib.loads(block.text).keys()
    if "project" in tables:
        return
    file = tmp_path / "settings.toml"
    file.write_text(block.text, encoding="utf-8")
    for command in ([], *([name] for name in tables & command_names())):
        assert cli("config", "show", "--config", file, *command).exit_code == 0
    check_file(file)


def test_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
