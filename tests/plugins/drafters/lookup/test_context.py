"""What a text has said before, as a naive search finds it too, ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specframe_plugins.drafters.lookup.context import MOST_EQUAL, Continuation, TextIndex

LENGTH = 12


def equal_before(text: list[int], place: int) -> int:
    """Return how many tokens before a place equal the last ones of the text."""
    equal = 0
    while equal < min(place, MOST_EQUAL) and text[place - 1 - equal] == text[-1 - equal]:
        equal += 1
    return equal


def naive_continuation(text: list[int], length: int) -> Continuation:
    earlier = [place for place in range(2, len(text)) if text[place - 2 : place] == text[-2:]]
    if not earlier:
        return Continuation(0)
    place = max(earlier[-4:], key=lambda place: (equal_before(text, place), place))
    followed = [*text]
    for i in range(length):
        followed.append(followed[place + i])
    return Continuation(equal_before(text, place), tuple(followed[len(text) :]))


def after(*token_ids: int, length: int = LENGTH) -> Continuation:
    return TextIndex(token_ids).continuation(length)


@st.composite
def texts(draw: st.DrawFn) -> list[int]:
    """Return a text of few different tokens, or one that repeats itself over long stretches."""
    tokens = st.integers(0, draw(st.integers(0, 3)))
    text = draw(st.lists(tokens, max_size=40))
    return text * draw(st.integers(1, 4)) + draw(st.lists(tokens, max_size=4))


@given(text=texts(), length=st.integers(0, LENGTH))
def test_what_follows_is_what_a_naive_search_finds(text: list[int], length: int) -> None:
    assert after(*text, length=length) == naive_continuation(text, length)


@given(first=texts(), chunks=st.lists(st.lists(st.integers(0, 2), max_size=5), max_size=8))
def test_text_that_comes_in_chunks_is_one_text(first: list[int], chunks: list[list[int]]) -> None:
    index, text = TextIndex(first), first
    for chunk in chunks:
        index.extend(chunk)
        text = text + chunk
        assert index.continuation(LENGTH) == TextIndex(text).continuation(LENGTH)


def test_the_longest_match_wins_over_a_later_one() -> None:
    assert after(1, 2, 3, 50, 9, 2, 3, 60, 1, 2, 3, length=1) == Continuation(3, (50,))


def test_of_matches_that_are_equally_long_the_latest_wins() -> None:
    assert after(8, 2, 3, 50, 9, 2, 3, 60, 1, 2, 3, length=1) == Continuation(2, (60,))


def test_places_before_the_latest_four_are_not_compared() -> None:
    long_ago = (1, 2, 3, 50)
    later = (9, 2, 3, 60, 9, 2, 3, 61, 9, 2, 3, 62)
    assert after(*long_ago, *later, 1, 2, 3, length=1).token_ids == (50,)
    assert after(*long_ago, *later, 9, 2, 3, 63, 1, 2, 3, length=1).token_ids == (63,)


@pytest.mark.parametrize(("repeated", "counted"), [(2, 2), (15, 15), (16, 16), (17, 16), (40, 16)])
def test_a_match_counts_as_sixteen_tokens_at_most(repeated: int, counted: int) -> None:
    same = range(10, 10 + repeated)
    assert after(1, *same, 2, 3, *same).equal == counted


def test_a_text_that_repeats_itself_goes_on_repeating_itself() -> None:
    assert after(1, 2, 3, 1, 2, length=7).token_ids == (3, 1, 2, 3, 1, 2, 3)


def test_a_token_that_is_said_again_and_again_goes_on() -> None:
    assert after(1, 7, 7, 7, length=3) == Continuation(2, (7, 7, 7))


@pytest.mark.parametrize("text", [(), (1,), (1, 1), (1, 2, 1), (1, 2, 3, 2), (1, 2, 3, 1, 3)], ids=str)
def test_nothing_follows_fewer_than_two_tokens_that_stood_there_before(text: tuple[int, ...]) -> None:
    assert after(*text) == Continuation(0)
