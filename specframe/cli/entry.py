"""Where the command line begins: an interrupt is quiet from here on, also while the rest is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from specframe.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
