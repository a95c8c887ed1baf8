"""Progress is drawn on a terminal that somebody looks at, and nowhere else."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from terminal import on_terminal

from specframe.ops import progress_line
from specframe.ops.notes import be_quiet, note
from specframe.ops.progress_line import ProgressLine

WORK = """
import time
from specframe.ops.notes import be_quiet, note
from specframe.ops.progress_line import ProgressLine
{before}
with ProgressLine("work", 4, 1, "pieces") as progress:
    time.sleep(0.12)  # a line is drawn ten times a second
    progress.advance("well")
    with ProgressLine("inside", 7) as inner:
        inner.advance()
    time.sleep(0.12)
    progress.advance()
    note("by the way")
    print("result")
    progress.advance()
"""


def work(before: str = "") -> list[str]:
    return ["-c", WORK.format(before=before)]


def test_a_terminal_shows_how_far_it_is_and_how_long_it_takes() -> None:
    drawn = on_terminal(work())
    assert "work" in drawn.text
    assert "2 of 4 pieces, " in drawn.text
    assert "pieces/s, well" in drawn.text
    assert "left" in drawn.text


def test_the_line_is_gone_when_the_work_is_done() -> None:
    assert on_terminal(work()).terminal.rstrip("\r\n").endswith("\x1b[2K")


def test_work_inside_of_other_work_draws_nothing() -> None:
    assert "inside" not in on_terminal(work()).text


def test_results_go_where_they_go_without_a_line() -> None:
    drawn = on_terminal(work())
    assert (drawn.out, "result" in drawn.text) == ("result\n", False)


def test_a_note_meanwhile_has_a_line_of_its_own() -> None:
    lines = on_terminal(work()).text.replace("\r", "\n").splitlines()
    assert "specframe: by the way" in [line.strip() for line in lines]


def test_without_a_terminal_nothing_is_drawn() -> None:
    done = subprocess.run([sys.executable, "-P", *work()], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("result\n", "specframe: by the way\n")


def test_who_wants_it_quiet_gets_results_alone() -> None:
    drawn = on_terminal(work("be_quiet()"))
    assert (drawn.terminal, drawn.out) == ("", "result\n")


def test_a_terminal_that_draws_nothing_is_sent_nothing_to_draw() -> None:
    drawn = on_terminal(work(), TERM="dumb")
    assert drawn.terminal.splitlines() == ["specframe: by the way"]


def test_a_line_has_colours_unless_there_should_be_none() -> None:
    assert on_terminal(work()).has_colours
    drawn = on_terminal(work(), NO_COLOR="1")
    assert ("2 of 4 pieces" in drawn.text, drawn.has_colours) == (True, False)


def test_an_interrupt_leaves_the_cursor_where_it_can_be_seen() -> None:
    drawn = on_terminal(work("def note(text): raise KeyboardInterrupt"))
    assert drawn.terminal.rfind("\x1b[?25h") > drawn.terminal.rfind("\x1b[?25l")


def test_drawing_takes_no_thread() -> None:
    count = "import threading; note = lambda text: note_(str(threading.active_count()))"
    drawn = on_terminal(work(f"note_ = note; {count}"))
    assert "specframe: 1\r\n" in drawn.text


TABLE = "from specframe.ops.tables import print_table; print_table([('a', 'b')], ('x', 'y'), 'what')"


def test_a_table_has_no_colours_where_there_should_be_none() -> None:
    drawn = on_terminal(["-c", TABLE], out_too=True, NO_COLOR="1")
    assert ("what" in drawn.text, drawn.has_colours) == (True, False)


def test_a_table_has_no_escape_codes_on_a_terminal_that_knows_none() -> None:
    drawn = on_terminal(["-c", TABLE], out_too=True, TERM="dumb")
    assert ("what" in drawn.text, drawn.has_escapes) == (True, False)


def test_a_log_has_a_line_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_line, "_LOGGED_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO), ProgressLine("train", 1000, 500, "tokens") as progress:
        progress.update(750, "loss 1.000")
    (line,) = caplog.messages
    assert line.startswith("train: 750 of 1,000 tokens, ")
    assert line.endswith("tokens/s, loss 1.000, 0:00:00 left")


def test_what_an_earlier_run_did_and_what_comes_before_the_work_are_no_part_of_the_speed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 100.0, 110.0, 110.0, 110.0])
    monkeypatch.setattr(progress_line, "_LOGGED_EVERY_S", 0.0)
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: next(times, 110.0))
    with caplog.at_level(logging.INFO), ProgressLine("work", 60, 20, "pieces") as progress:
        progress.update(20)
        progress.update(30)
    assert caplog.messages[-1] == "work: 30 of 60 pieces, 1.00 pieces/s, 0:00:30 left"


def test_notes_can_be_silenced_and_heard_again(capsys: pytest.CaptureFixture[str]) -> None:
    be_quiet()
    note("one")
    be_quiet(False)
    note("two")
    assert capsys.readouterr().err == "specframe: two\n"
