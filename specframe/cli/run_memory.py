"""How much memory ``specframe run`` takes for a model: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from specframe.registry.components import Finding

# What a run may take: the weights, room for a head that is packed while its rows are still there, and what
# Python, torch, a tokenizer and the caches take whatever the model.
_WEIGHTS, _BASE_BYTES = 1.4, 400e6

_RUN = "from specframe.cli.app import main; main()"


def memory_finding(model: str, dtype: str, device: str, weight_bytes: int) -> Finding:
    """Return the peak of a short run, beside what is expected of one.

    Args:
        model: as it was typed.
        dtype: to run it in.
        device: where.
        weight_bytes: of its weights in that dtype.
    """
    weights = f"weights {weight_bytes / 1e6:,.0f} MB in {dtype}"
    where = ("--dtype", dtype, "--device", device)
    command = ("run", "--model", model, *where, "--max-new-tokens", "8", "--json")
    for drafter in ((), ("--drafter", "lookup")):  # which needs no head
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *command, *drafter], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            peak = json.loads(done.stdout)["peak_rss_bytes"]
            expected = _WEIGHTS * weight_bytes + _BASE_BYTES
            message = f"a short run peaks at {peak / 1e6:,.0f} MB, expected {expected / 1e6:,.0f}; {weights}"
            return Finding("memory", True if peak <= expected else None, message)
    return Finding("memory", None, f"{weights}; a short run failed: {done.stderr.strip()}")
