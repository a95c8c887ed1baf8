"""Commands that compute nothing import neither torch nor transformers, whatever is typed wrongly."""

from __future__ import annotations

import subprocess
import sys

import pytest

RUN = """
import atexit, sys
from specframe.cli.entry import main

heavy = {"torch", "transformers", "triton", "numpy"}
atexit.register(lambda: print("heavy:", *sorted(heavy & set(sys.modules)), file=sys.stderr))
main()
"""

COMMANDS = (
    "",
    "--version",
    *(f"{command} --help" for command in ("run", "chat", "bench", "report", "replay", "models", "doctor")),
    *("plugins --help", "train --help", "export --help", "vocab --help", "vocab inspect --help"),
    "models",
    "plugins list",
    *("plugins show drafter eagle", "plugins show vocabulary nanospec", "plugins show verifier typical"),
    *("plugins show drafter egle", "plugins show draftr eagle", "rnu", "run --strateg nanospec"),
    *("run --strategy nanospek", "run --drafter lokup", "run --verifier gredy", "run --gather trch"),
    *("run -o drafer.length=1", "run -o drafter.legth=1", "run --drafter lookup -o drafter.length=0"),
    *("bench --strategies nanospek", "bench --strategies lowrank:rnk=3", "bench --tasks no-such-file"),
    *("train --drafter egle --out head", "run --target-forward fast", "run --temperature warm"),
)


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, *arguments], capture_output=True, text=True, check=False
    )
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_computes_nothing_waits_for_no_torch(command: str) -> None:
    assert run(*command.split()) == "heavy:"
