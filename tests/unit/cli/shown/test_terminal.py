"""What a terminal shows: colours where it has them, marks where not, and nothing that speaks to it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from byte_tokenizer import byte_tokenizer
from rich.color import ColorSystem
from shown import Told, drafted, report_of
from tiny_models import tiny_tokenizer

from specframe.cli.shown.terminal import Coloured, Marked, closing_lines, harmless, painter

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def told() -> Told:
    return Told(
        tiny_tokenizer(),
        5,
        drafted(5, [6, 7], 8),
        drafted(8, [9], 10, "oov", rejected=[1], source="lookup"),
        drafted(10, [], 11, "drafter_miss", rejected=[1]),
        drafted(11, [], 12),
    )


def coloured(told: Told, **settings: Any) -> str:
    return told.painted(Coloured(ColorSystem.EIGHT_BIT, **({"marks": True} | settings)).paint)


def test_without_colours_brackets_hold_what_was_accepted(told: Told) -> None:
    paint = Marked()
    assert told.painted(paint.paint) + paint.end() == "w5 [w6 w7] +w8 {w9} !w10 ~w11 w12"


def test_a_bracket_that_is_open_at_the_end_is_closed() -> None:
    paint = Marked()
    told = Told(tiny_tokenizer(), 5, drafted(5, [6, 7], 8, emitted=2))
    assert told.painted(paint.paint) + paint.end() == "w5 [w6 w7]"


def test_every_pass_has_brackets_of_its_own() -> None:
    paint = Marked()
    told = Told(tiny_tokenizer(), 5, drafted(5, [6], 7, emitted=1), drafted(6, [8], 9, emitted=1))
    assert told.painted(paint.paint) + paint.end() == "w5 [w6] [w8]"


def test_colours_change_nothing_of_the_text(told: Told) -> None:
    assert ESCAPES.sub("", coloured(told)) == "w5 w6 w7 w8 w9 w10 w11 w12"


def test_styles_differ_without_their_colours_too(told: Told) -> None:
    colourless = [
        re.sub(r"38;5;\d+", "", style) for style in re.findall(r"\x1b\[([^0m][0-9;]*)m", coloured(told))
    ]
    # Bold, plain, italic, underlined, bold and reverse, dim.
    assert {style.strip(";") for style in colourless} == {"1", "", "3", "4", "1;7", "2"}


def test_a_line_under_tokens_is_not_begun_by_a_space(told: Told) -> None:
    assert " \x1b[4;38;5;35mw9" in coloured(told)


def test_line_ends_and_indents_are_visible() -> None:
    tokenizer = byte_tokenizer("ĊĠĠ", "ĠĠĠ")
    newline, spaces = len(tokenizer) - 3, len(tokenizer) - 2
    told = Told(tokenizer, 64, drafted(64, [newline, spaces], 65))
    shown = ESCAPES.sub("", coloured(told))
    assert shown[1:-1] == "↵\n·····"
    assert ESCAPES.sub("", coloured(told, marks=False))[1:-1] == "\n     "


def test_no_style_runs_over_a_line_end() -> None:
    tokenizer = byte_tokenizer("ĊĠa")
    told = Told(tokenizer, 64, drafted(64, [len(tokenizer) - 2], 65, source="lookup"))
    for line in coloured(told).split("\n"):
        assert "\x1b" not in re.sub(r"\x1b\[[0-9;]+m[^\x1b]*\x1b\[0m", "", line)


def test_what_a_model_writes_cannot_speak_to_the_terminal() -> None:
    assert harmless("a\x1b[31mb\x07\x9b\n\t") == "a␛[31mb␇<9B>\n\t"


def test_the_legend_counts_every_token_once(told: Told) -> None:
    legend, summary = closing_lines(told.story, report_of(told), Marked())
    assert legend == (
        "[eagle, by its head] 2 (25%)  {copied (lookup)} 1 (12%)  +bonus 1 (12%)  ~recovered 1 (12%)  "
        "!not active 1 (12%)  first token 1 (12%)  not drafted 1 (12%)"
    )
    assert summary == (
        "3 of 8 tokens were drafted and accepted, tau 1.75; 1 of 4 passes ended because the target's token "
        "was not active"
    )


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, Marked),
        ({"FORCE_COLOR": "1", "TERM": "xterm-256color"}, Coloured),
        ({"FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": "1"}, Marked),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, Marked),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    environment: dict[str, str], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert type(painter()) is kind


def test_a_source_cannot_speak_to_the_terminal_either() -> None:
    told = Told(tiny_tokenizer(), 5, drafted(5, [6], 7, source="\x1b[31mred"))
    legend, _ = closing_lines(told.story, report_of(told), Marked())
    assert "{␛[31mred}" in legend
