"""Every code block of README and docs is run, or says why it is not; what is not run is read at least."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from doc_blocks import CODE, ELSEWHERE, ROOT, SHOWN, Block, blocks
from doc_commands import check_arguments, command_lines, specframe_arguments

from specframe.config import load_toml

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
    for block in BLOCKS:
        name = block.text.partition("\n")[0].removeprefix("# ")
        if block.page == page and block.language == "toml" and name.endswith(".toml"):
            (tmp_path / name).write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    check_arguments(arguments)


@pytest.mark.parametrize("block", DATA)
def test_a_file_that_a_page_shows_can_be_read(block: Block, tmp_path: Path) -> None:
    if block.language == "json":
        json.loads(block.text)
    elif not {"project", "build-system"} & tomllib.loads(block.text).keys():
        (tmp_path / "specframe.toml").write_text(block.text, encoding="utf-8")
        load_toml(tmp_path / "specframe.toml")


def test_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
