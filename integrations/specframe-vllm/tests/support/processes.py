"""Engines in processes of their own, for what cannot run in the one of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from specframe_vllm import metrics

SCRIPT = Path(__file__).with_name("run_engine.py")


@attrs.frozen
class ProcessOutcome:
    """What such an engine answered.

    Attributes:
        token_ids: of each answer, one prompt after the other.
        drafts: how many chains were verified.
        accepted: drafted tokens that were accepted.
        figures: the plugin's metrics.
        log: what it wrote.
    """

    token_ids: list[list[int]]
    drafts: float
    accepted: float
    figures: dict[str, float]
    log: str


def answer_in_a_process(
    scratch: Path, environment: dict[str, str], config: dict[str, Any], timeout: float = 300
) -> ProcessOutcome:
    """Answer prompts greedily; ``config`` is what ``run_engine.py`` reads."""
    scratch.mkdir(exist_ok=True)
    given, found = scratch / "config.json", scratch / "outcome.json"
    given.write_text(json.dumps(config), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(given), str(found)],
        env=_without_ours(os.environ) | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-4000:]
    return ProcessOutcome(**json.loads(found.read_text(encoding="utf-8")), log=log)


def _without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the metrics of this process, which a child would add to its own."""
    return {name: value for name, value in environment.items() if name != metrics.VARIABLE}
