"""A plugin for pytest: one JSON line per test as it ends, so that a run which is cut off leaves some."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

VARIABLE = "SPECFRAME_TEST_OUTCOMES"


def pytest_runtest_logreport(report: Any) -> None:
    """Write down how a test ended, or how it broke before or after."""
    if report.when == "call" or report.outcome != "passed":
        note = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 3)}
        if report.failed:
            note["said"] = str(report.longrepr).strip().splitlines()[-1] if report.longrepr else ""
        with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")
