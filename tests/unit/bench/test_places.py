"""Where a benchmark or a replay is to write is looked at before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine


@pytest.mark.parametrize("option", ["--json", "--record"])
def test_a_benchmark_that_could_not_write_is_refused_before_a_model_is_loaded(
    option: str, cli: CommandLine, tmp_path: Path
) -> None:
    outcome = cli("bench", "--model", "no such model", option, tmp_path / "nowhere" / "rows.jsonl")
    assert outcome.exit_code == 1
    assert outcome.complaint.endswith("nowhere/rows.jsonl: No such file or directory")


def test_an_export_that_could_not_write_is_refused_before_a_model_is_loaded(
    cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for typed in (["vllm", "no such head"], ["sglang", "static"]):
        outcome = cli("export", *typed, tmp_path / "file" / "below" / "x")
        assert outcome.exit_code == 2
        assert outcome.complaint.endswith("file is a file; allowed: a new directory in a folder")
