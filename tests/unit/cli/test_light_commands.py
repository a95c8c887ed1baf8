"""Commands that compute nothing import neither torch nor transformers, whatever is typed wrongly."""

from __future__ import annotations

import subprocess
import sys

COMMANDS = (
    "",
    "--version",
    *(f"{command} --help" for command in ("run", "chat", "bench", "report", "replay", "models", "doctor")),
    *("plugins --help", "train --help", "export --help", "vocab --help", "vocab inspect --help"),
    *("new --help", "config show", "models", "plugins list"),
    *("plugins show drafter eagle", "plugins show vocabulary nanospec", "plugins show verifier typical"),
    *("plugins show drafter egle", "plugins show draftr eagle", "rnu", "run --strateg nanospec"),
    *("run --strategy nanospek", "run --drafter lokup", "run --verifier gredy", "run --gather trch"),
    *("run -o drafer.length=1", "run -o drafter.legth=1", "run --drafter lookup -o drafter.length=0"),
    *("bench --strategies nanospek", "bench --strategies lowrank:rnk=3", "bench --tasks no-such-file"),
    *("train --drafter egle --out head", "run --target-forward fast", "run --temperature warm"),
)

# One process for all of them: what was imported stays, so the first command that imports too much is named.
RUN = """
import sys
from specframe.cli.entry import main

for command in sys.argv[1].split("|"):
    sys.argv = ["specframe", *command.split()]
    try:
        main()
    except SystemExit:
        pass
    heavy = {"torch", "transformers", "triton", "numpy"} & set(sys.modules)
    if heavy:
        sys.exit(f"`specframe {command}` imports {', '.join(sorted(heavy))}")
print("that was all")
"""


def test_commands_that_compute_nothing_wait_for_no_torch() -> None:
    command = [sys.executable, "-P", "-c", RUN, "|".join(COMMANDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("that was all\n"), done.stderr
