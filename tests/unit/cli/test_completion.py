"""What the shell offers is right, and is there at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stranger import STRATEGY, install_plugin

RUN = """
import atexit, sys
atexit.register(lambda: print("torch" in sys.modules, file=sys.stderr))
from specframe.cli.entry import main
main()
"""


def offered(line: str, path: Path | None = None) -> list[str]:
    """Return what bash would offer at the end of a line."""
    words = line.split(" ")
    asked = {"_SPECFRAME_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    paths = filter(None, [str(path or ""), os.environ.get("PYTHONPATH")])
    environment = {**os.environ, **asked, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stderr == "False\n"
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("specframe ben", ["bench"]),
        ("specframe run --strategy nano", ["nanospec", "nanospec+lowrank"]),
        ("specframe run --strategy auto", ["autoregressive"]),
        ("specframe run --drafter sw", ["swift"]),
        ("specframe run --gather ", ["auto", "torch", "triton", "triton-indexed"]),
        ("specframe run --verifier g", ["gbv", "greedy"]),
        ("specframe run --target-forward l", ["lean"]),
        ("specframe run --drafter lookup -o dr", ["drafter.length="]),
        ("specframe run -o vocabulary.harv", ["vocabulary.harvest_topk="]),
        ("specframe plugins show ver", ["verifier"]),
        ("specframe plugins show drafter eag", ["eagle", "eagle3"]),
        ("specframe plugins show nonsense eag", []),
    ],
)
def test_the_shell_offers_what_may_follow(line: str, expected: list[str]) -> None:
    assert sorted(offered(line)) == expected


def test_the_shell_offers_components_of_strangers_beside_a_plugin_that_does_not_work(tmp_path: Path) -> None:
    install_plugin(tmp_path, "their-strategy", STRATEGY.format(name="theirs"))
    install_plugin(tmp_path, "broken-strategy", "1 / 0\n")
    assert offered("specframe run --strategy the", tmp_path) == ["theirs"]


def test_there_is_a_script_for_the_shell() -> None:
    # `--show-completion` prints it too, for the shell that it is typed in: here there may be none.
    asked = {**os.environ, "_SPECFRAME_COMPLETE": "source_bash"}
    shown = subprocess.run(
        [sys.executable, "-m", "specframe"], env=asked, capture_output=True, text=True, check=False
    )
    assert "_SPECFRAME_COMPLETE=complete_bash" in shown.stdout
