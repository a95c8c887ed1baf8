"""Code blocks of README and docs, run page by page in their order, as a reader would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from doc_blocks import Block, blocks, write_files
from doc_commands import command_lines

RUN = [block for block in blocks() if block.runs and block.language in ("python", "sh", "console")]
PYTHON = [block for block in RUN if block.language == "python"]
SHELL = [block for block in RUN if block.language != "python"]


def pages(found: list[Block]) -> list[str]:
    return list(dict.fromkeys(block.page for block in found))


def bash(command: str) -> str:
    """Return what a command prints, where `python` is this one."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", command],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def words(line: str) -> list[str]:
    """Return what a shell makes of a line."""
    return bash(f"printf '%s\\0' {line}").split("\0")[:-1]


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
def test_the_commands_of_a_page_run_in_their_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    monkeypatch.chdir(tmp_path)
    # What is typed counts; everything else writes a few tokens.
    monkeypatch.setenv("SPECFRAME_MAX_NEW_TOKENS", "12")
    write_files(page, tmp_path)
    for block in SHELL:
        if block.page != page:
            continue
        printed = ""
        for line in command_lines(block.text, block.language):
            name, *arguments = words(line)
            if name != "specframe":
                printed += bash(line)
                continue
            outcome = cli(*arguments)
            assert outcome.exit_code == 0, f"{block.place}: {outcome.err}"
            printed += outcome.out
        if block.language == "console":
            shown = [text for text in block.text.splitlines() if not text.startswith("$ ")]
            assert printed.splitlines() == shown, block.place
