"""One line on a terminal that says how far something long has come."""

from __future__ import annotations

import sys


def show_progress(line: str) -> None:
    """Show a line on the terminal in place of the one before; an empty one removes it. Files get none."""
    if sys.stderr.isatty():
        print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
