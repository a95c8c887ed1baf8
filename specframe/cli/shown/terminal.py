"""Tokens in the colours of what they came from, as they stream; with marks where there are no colours."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from specframe.cli.shown.origins import Origin, counted
from specframe.cli.shown.story import ShownToken, Span, Story
from specframe.contracts.report import GenerationReport

# Each differs from the others in more than its colour. The colours are told apart by people who see fewer
# (Okabe and Ito's, in the 256 of terminals), and can be read on dark and on light ground.
_STYLES = {
    "drafted": "color(33)",
    "bonus": "italic color(172)",
    "recovered": "",
    "outside": "bold reverse color(162)",
    "first": "bold",
    "alone": "dim",
}
_SOURCE_STYLES = tuple(f"underline color({number})" for number in (35, 134, 37, 136, 103))
_BRACKETS = (("{", "}"), ("<", ">"), ("(", ")"))
_MARKS = {"bonus": "+", "recovered": "~", "outside": "!"}
# What would move the cursor or speak to the terminal; newlines and tabs are treated apart.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Painter(ABC):
    """Turns pieces of text into what is printed."""

    @abstractmethod
    def paint(self, spans: Iterable[Span]) -> str:
        """Return the next pieces of text as they are printed."""

    @abstractmethod
    def name(self, origin: Origin) -> str:
        """Return the name of an origin as it stands in the legend."""

    def end(self) -> str:
        """Return what closes the text."""
        return ""


class Coloured(Painter):
    """Colours tokens.

    Args:
        colours: what the terminal can show.
        marks: it can show signs for spaces and line ends.
    """

    def __init__(self, colours: ColorSystem, *, marks: bool) -> None:
        self._colours, self._marks = colours, marks

    def paint(self, spans: Iterable[Span]) -> str:
        """Return pieces in their colours; line ends and tokens of several spaces become visible."""
        return "".join(self._painted(span.text, span.token) for span in spans)

    def name(self, origin: Origin) -> str:
        """Return the name in its colour."""
        return self._styled(harmless(origin.label), origin)

    def _painted(self, text: str, token: ShownToken) -> str:
        before = ""
        if text.startswith(" ") and not token.goes_on and text.strip(" "):
            before, text = " ", text[1:]
        lines = harmless(text).split("\n")
        if self._marks:
            blank = len(text) > 1 and not text.strip(" \t\n")
            lines = [line.replace(" ", "·").replace("\t", "→\t") if blank else line for line in lines]
            lines[:-1] = [f"{line}↵" for line in lines[:-1]]
        return before + "\n".join(self._styled(line, token.origin) for line in lines)

    def _styled(self, text: str, origin: Origin) -> str:
        place = origin.place
        found = _STYLES[origin.key] if place is None else _SOURCE_STYLES[place % len(_SOURCE_STYLES)]
        return Style.parse(found).render(text, color_system=self._colours) if text and found else text


class Marked(Painter):
    """Puts what was drafted and accepted into brackets, and a mark before the target's own tokens."""

    def __init__(self) -> None:
        self._open: tuple[Origin, int | None] | None = None

    def paint(self, spans: Iterable[Span]) -> str:
        """Return pieces with their marks; spaces before a token come before its mark."""
        return "".join(self._marked(harmless(span.text), span.token) for span in spans)

    def name(self, origin: Origin) -> str:
        """Return the name with its marks."""
        opening, closing = _brackets(origin)
        return f"{opening}{harmless(origin.label)}{closing}"

    def end(self) -> str:
        """Return the bracket that closes the text."""
        group, self._open = self._open, None
        return "" if group is None else _brackets(group[0])[1]

    def _marked(self, text: str, token: ShownToken) -> str:
        group = token.origin, token.step
        if group == self._open:
            return text
        closed = self.end()
        opening, closing = _brackets(token.origin)
        if closing:
            self._open = group
        start = len(text) - len(text.lstrip())
        if start == len(text):
            return f"{closed}{opening}{text}"
        return f"{closed}{text[:start]}{opening}{text[start:]}"


def painter() -> Painter:
    """Return the painter for standard output: colours on a terminal that has them, unless NO_COLOR is set."""
    console = Console()
    system = console.color_system
    if not console.is_terminal or console.no_color or console.is_dumb_terminal or system is None:
        return Marked()
    return Coloured(ColorSystem[_SYSTEMS[system]], marks=_can_show("·→↵", console.encoding))


_SYSTEMS = {"standard": "STANDARD", "256": "EIGHT_BIT", "truecolor": "TRUECOLOR", "windows": "WINDOWS"}


def closing_lines(story: Story, report: GenerationReport, paint: Painter) -> list[str]:
    """Return the legend with its counts, and one line that sums up."""
    counts = counted(token.origin for token in story.tokens)
    total = len(story.tokens)
    legend = "  ".join(
        f"{paint.name(origin)} {counts[origin]:,} ({counts[origin] / total:.0%})"
        for origin in story.origins.all
        if counts[origin]
    )
    accepted = sum(count for origin, count in counts.items() if origin.drafted)
    summary = f"{accepted:,} of {total:,} tokens were drafted and accepted, tau {report.tau:.2f}"
    if report.oov_rejections:
        summary += (
            f"; {report.oov_rejections:,} of {report.target_passes:,} passes ended because the target's "
            "token was not active"
        )
    return [legend, summary]


def harmless(text: str) -> str:
    """Return text in which control characters are pictures of themselves."""
    return _CONTROL.sub(lambda found: _picture(ord(found[0])), text)


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<{code:02X}>"


def _brackets(origin: Origin) -> tuple[str, str]:
    if origin.place is not None:
        return _BRACKETS[origin.place % len(_BRACKETS)]
    return ("[", "]") if origin.drafted else (_MARKS.get(origin.key, ""), "")


def _can_show(signs: str, encoding: str) -> bool:
    try:
        signs.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
