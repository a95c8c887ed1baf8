from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine

from specframe.replay.trace_file import read_trace

PROMPTS = {"a": "w5 w6 w7", "b": "w9 w9 w40 w8", "c": "w77"}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    lines = [{"id": id, "task": "qa", "category": "x", "turns": [text]} for id, text in PROMPTS.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_benchmark_leaves_a_trace_and_goes_on_with_it(
    cli: CommandLine, tasks: Path, tiny_directory: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    common = ("bench", "--tasks", tasks, "--model", tiny_directory, "--dtype", "float32", "--raw")
    recording = ("-s", "autoregressive,hf-greedy", "--max-new-tokens", 6, "--record", trace)
    cli(*common, *recording, "--limit-per-task", 1)
    assert [one.id for one in read_trace(trace).requests] == ["a"]
    outcome = cli(*common, *recording)
    assert outcome.exit_code == 0, outcome.err
    found = read_trace(trace)
    assert [one.id for one in found.requests] == list(PROMPTS)
    assert (found.header.strategy, found.header.topk, found.header.prompt_window) == (
        "autoregressive",
        8,
        256,
    )
    assert (cli("replay", trace, "-s", "nanospec").exit_code) == 0


def test_hidden_states_are_recorded_and_their_size_is_said_before(
    cli: CommandLine, tasks: Path, tiny_directory: Path, tmp_path: Path
) -> None:
    outcome = cli(
        *("bench", "--tasks", tasks, "--model", tiny_directory, "--dtype", "float32", "--raw", "-s", "full"),
        *("--drafter", "draft-model", "-o", "drafter.layers=1", "-o", "drafter.depth=2"),
        *("-o", "drafter.branching=2", "-o", "drafter.lookup=0", "--max-new-tokens", 6, "--costs", "off"),
        *("--record", tmp_path / "trace", "--record-hidden"),
    )
    assert outcome.exit_code == 0, outcome.err
    # Three states of 64 numbers in half precision.
    assert "hidden states take up to 0.4 KiB a target pass: up to 0.0 MiB if all 3 prompts" in outcome.err
    trace = read_trace(tmp_path / "trace")
    assert trace.header.hidden_states
    sizes = {tuple(len(level) for level in one.levels) for one in trace.requests[0].passes}
    assert sizes == {(1, 2)}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("-s", "hf-greedy", "--record", "t"), "peers leave no trace"),
        (
            ("-s", "autoregressive", "--record", "t", "--record-configuration", "full"),
            "unknown configuration",
        ),
        (("-s", "autoregressive", "--record-configuration", "autoregressive"), "given without --record"),
        (("-s", "full", "--record-hidden"), "--record-hidden is given without --record"),
        (
            ("-s", "autoregressive", "--record", "t", "--record-hidden"),
            "autoregressive is recorded, which drafts",
        ),
    ],
)
def test_what_cannot_be_recorded_is_one_line(
    cli: CommandLine, tasks: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    outcome = cli("bench", "--tasks", tasks, *arguments)
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint
