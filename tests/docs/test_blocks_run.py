"""Code blocks of README and docs, run page by page in their order, as a reader would."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import Block, blocks, write_files

RUN = [block for block in blocks() if block.runs and block.language in ("python", "sh", "console")]
PYTHON = [block for block in RUN if block.language == "python"]
SHELL = [block for block in RUN if block.language != "python"]
# The commands of a page as a shell finds them.
_COMMANDS = {"specframe": "-c 'from specframe.cli.entry import main; main()'", "python": ""}


def pages(found: list[Block]) -> list[str]:
    return list(dict.fromkeys(block.page for block in found))


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that has `specframe` and `python` in an empty folder."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, arguments in _COMMANDS.items():
        script = tools / name
        script.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n', encoding="utf-8"
        )
        script.chmod(0o755)
    # What is typed counts; everything else writes a few tokens.
    short = {"SPECFRAME_MAX_NEW_TOKENS": "12"}
    return {**os.environ, **short, "PATH": f"{tools}:{os.environ['PATH']}"}


def expected(text: str) -> tuple[str, str]:
    """Return the commands of a console block, and what it says they print."""
    lines = text.splitlines(keepends=True)
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return "".join(commands), "".join(line for line in lines if not line.startswith("$ "))


@pytest.mark.parametrize("page", pages(PYTHON))
def test_the_python_of_a_page_runs_in_its_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in PYTHON:
        if block.page == page:
            exec(compile(block.text, block.place, "exec"), names)


@pytest.mark.parametrize("page", pages(SHELL))
def test_the_commands_of_a_page_run_in_their_order(page: str, shell: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write_files(page, folder)
    for block in SHELL:
        if block.page != page:
            continue
        commands, printed = expected(block.text) if block.language == "console" else (block.text, "")
        done = subprocess.run(
            ["bash", "-euc", commands], cwd=folder, env=shell, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.place}: {done.stderr}"
        if printed:
            assert done.stdout == printed, block.place
