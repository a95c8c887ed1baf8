"""What a command says besides its results: notes on standard error, which the user may not want."""

from __future__ import annotations

import sys

_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """Say nothing besides results and errors from here on, or everything again."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Return whether results and errors are all that is wanted."""
    return _quiet


def note(message: str) -> None:
    """Say one line on standard error."""
    if not _quiet:
        print(f"specframe: {message}", file=sys.stderr, flush=True)
