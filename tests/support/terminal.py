"""A terminal for a process, and what it draws there."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

import attrs

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOURS = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")


@attrs.frozen
class Drawn:
    """What a process wrote: to a terminal, and past it to a file."""

    terminal: str
    out: str
    exit_code: int

    @property
    def text(self) -> str:
        """What it wrote to the terminal, without what moves the cursor or colours."""
        return _ESCAPES.sub("", self.terminal)

    @property
    def has_escapes(self) -> bool:
        """Whether it drew anything but text."""
        return "\x1b" in self.terminal

    @property
    def has_colours(self) -> bool:
        """Whether any of it is coloured."""
        return bool(_COLOURS.search(self.terminal))


def on_terminal(arguments: Sequence[str], *, out_too: bool = False, **environment: str) -> Drawn:
    """Run Python with its errors on a terminal of 100 columns.

    Args:
        arguments: of Python.
        out_too: standard output is the terminal as well.
        environment: variables.
    """
    ours, its = pty.openpty()
    known: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")
    }
    process = subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=its,
        stdout=its if out_too else subprocess.PIPE,
        stderr=its,
        env={**known, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
        start_new_session=True,
    )
    os.close(its)
    drawn = bytearray()
    with contextlib.suppress(OSError):  # how Linux says that nobody has the terminal open any more
        while part := os.read(ours, 65536):
            drawn += part
    out = process.communicate()[0] or b""
    os.close(ours)
    return Drawn(drawn.decode(), out.decode(), process.returncode)
