"""Where there is no terminal, a benchmark leaves one line about its progress and a replay none."""

from __future__ import annotations

import pytest

from specframe.bench.progress import progress_bar


def run(what: str, *, stays: bool) -> None:
    with progress_bar(3, 1, what, stays=stays) as advance:
        advance()
        advance()


def test_a_bar_that_stays_is_one_line_with_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    run("generations", stays=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("generations ")
    assert " 3/3 " in line


def test_a_bar_that_does_not_stay_needs_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("requests", stays=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    run("requests", stays=False)
    assert "requests" in capsys.readouterr().err
