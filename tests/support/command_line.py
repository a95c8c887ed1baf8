"""The command line as a user meets it, inside this process: output, errors and exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

import attrs
import pytest

from specframe.cli.app import main


@attrs.frozen
class Outcome:
    """What one command printed, and its exit code."""

    exit_code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("specframe: ")
        return lines[0].removeprefix("specframe: ")


CommandLine = Callable[..., Outcome]


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Return a function that runs ``specframe`` with the given arguments."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["specframe", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        captured = capsys.readouterr()
        return Outcome(int(exit_info.value.code or 0), captured.out, captured.err)

    return run
