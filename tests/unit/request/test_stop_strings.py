"""Text ends right before the first stop string, and nothing shown is ever taken back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from specframe.errors import UsageError
from specframe.request.stop_strings import StopStrings

_TEXT = st.text(st.sampled_from("ab\n"), max_size=12)
_STOPS = st.lists(st.text(st.sampled_from("ab\n"), min_size=1, max_size=4), max_size=3)


def shown(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    cut = StopStrings(stops)
    text = "".join(cut.push(piece) for piece in pieces)
    return text + cut.finish(), cut.found


@given(_TEXT, _STOPS)
@example("aab", ["ab"])
@example("abab\n", ["abb", "bab"])
def test_character_by_character_the_text_ends_before_the_stop_string_that_is_complete_first(
    text: str, stops: list[str]
) -> None:
    ends = {stop: text.find(stop) + len(stop) for stop in stops if stop in text}
    first = min(ends.values(), default=None)
    starts = [first - len(stop) for stop, end in ends.items() if end == first] if first else []
    expected = text[: min(starts)] if starts else text
    assert shown([*text], stops) == (expected, bool(starts))


@given(st.lists(_TEXT, max_size=5), _STOPS)
def test_no_stop_string_is_ever_shown(pieces: list[str], stops: list[str]) -> None:
    text, found = shown(pieces, stops)
    assert not any(stop in text for stop in stops)
    assert "".join(pieces).startswith(text)
    assert found == any(stop in "".join(pieces) for stop in stops)


def test_what_may_begin_a_stop_string_waits() -> None:
    cut = StopStrings(["\n\nUser:"])
    assert [cut.push(piece) for piece in ("one\n", "\nUs", "ed", "\n\nUser: two")] == [
        "one",
        "",
        "\n\nUsed",
        "",
    ]


def test_what_waited_in_vain_is_shown_at_the_end() -> None:
    cut = StopStrings(["</s>"])
    assert cut.push("x </") == "x "
    assert cut.finish() == "</"


def test_of_two_stop_strings_in_one_piece_the_one_that_begins_first_counts() -> None:
    assert shown(["one two three"], ["three", "two"]) == ("one ", True)


def test_nothing_is_shown_after_a_stop_string() -> None:
    assert shown(["a.b", "c"], ["."]) == ("a", True)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        StopStrings(["a", ""])
