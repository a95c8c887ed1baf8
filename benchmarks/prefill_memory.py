"""Memory that reading a long prompt takes on top of the loaded model (Linux)."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine

_STATUS = Path("/proc/self/status")


def _mebibytes(key: str) -> float:
    """Return an entry of this process's status, which counts in KiB."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Print the resident memory before a prompt of random ids and at its peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--strategy", default="nanospec")
    parser.add_argument("--tokens", type=int, default=8184)
    parser.add_argument("--chunk", type=int, default=512, help="prompt tokens per pass")
    options = parser.parse_args()
    engine = build_engine(
        RunConfig(model=options.model, strategy=options.strategy, prefill_chunk=options.chunk)
    )
    prompt_ids = torch.randint(
        100, engine.target.vocab_size, (options.tokens,), generator=torch.Generator().manual_seed(0)
    )
    before = _mebibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    report = engine.generate(prompt_ids, 8)
    peak = _mebibytes("VmHWM")
    print(
        f"{options.strategy}: {options.tokens:,} tokens, {before:,.0f} MiB before, "
        f"{peak:,.0f} MiB at the peak, {peak - before:,.0f} MiB more; prefill {report.prefill_s:.1f} s"
    )


if __name__ == "__main__":
    main()
