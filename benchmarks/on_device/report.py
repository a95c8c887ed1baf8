"""What the check found out, as a table on the terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from on_device.parts import Outcome
from specframe.ops.tables import print_table

SCHEMA_VERSION = 1
FILE = "gpu_check.json"

_SHOWN = {True: "ok", False: "FAILED", None: "-"}


def failed(outcomes: Iterable[Outcome]) -> bool:
    """Return whether anything that could be checked is not as it should be."""
    return any(row.ok is False for outcome in outcomes for row in outcome.rows)


def print_outcomes(outcomes: list[Outcome]) -> None:
    """Print one table, then what could not be shown, and what failed."""
    rows = [
        [outcome.name, row.what, _SHOWN[row.ok], row.said] for outcome in outcomes for row in outcome.rows
    ]
    print_table(rows, ("part", "what", "", "result"))
    for outcome in outcomes:
        for row in outcome.rows:
            if row.ok is None:
                print(f"not shown: {row.what}: {row.said}")
    for outcome in outcomes:
        for row in outcome.rows:
            if row.ok is False:
                print(f"FAILED: {outcome.name}, {row.what}: {row.said}")


def write(outcomes: list[Outcome], device: str, seconds: float, out: Path) -> Path:
    """Write everything to a file in ``out``, and return its path; docs/kernels.md says what is in it."""
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "device": device,
        "miniature": device == "cpu",
        "failed": failed(outcomes),
        "seconds": seconds,
        "parts": [attrs.asdict(outcome) for outcome in outcomes],
    }
    path = out / FILE
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return path
