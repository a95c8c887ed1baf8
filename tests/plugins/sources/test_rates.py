"""How likely guesses are, by what became of others with the same evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specframe_plugins.drafters.lookup.source import LookupSource, bucket
from specframe_plugins.sources.growth import Growth, Sprout
from specframe_plugins.sources.rates import Rates

EVIDENCE, OTHER = ("source", 1), ("source", 2)


def learnt(*outcomes: bool) -> Rates:
    rates = Rates(lambda _: (2.0, 3.0))
    for right in outcomes:
        rates.learn(EVIDENCE, right=right)
    return rates


@given(outcomes=st.lists(st.booleans(), max_size=30))
def test_right_guesses_raise_the_estimate_and_wrong_ones_lower_it(outcomes: list[bool]) -> None:
    wrong, before, right = (learnt(*outcomes, *last).estimate(EVIDENCE) for last in ([False], [], [True]))
    assert 0.0 < wrong < before < right < 1.0


def test_guesses_with_other_evidence_keep_their_estimate() -> None:
    assert learnt(False, False).estimate(OTHER) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "together", [range(2, 3), range(3, 4), range(4, 8), range(8, 16), range(16, 41)], ids=str
)
def test_matches_of_about_one_length_are_one_evidence(together: range) -> None:
    assert [equal for equal in range(2, 41) if bucket(equal) == bucket(together[0])] == [*together]


def test_every_token_of_a_repetition_lengthens_the_match() -> None:
    source = LookupSource(4)
    source.begin([1, 2, 7, 8, 9, 5, 1, 2])
    first = next(iter(source.after([], None)))
    second = next(iter(source.after([7], first.state)))
    assert (first.evidence, second.evidence) == (("lookup", 0), ("lookup", 1))


def chain(*token_ids: int) -> Growth:
    """Return a growth of one path, each token with evidence of its own, and one more guess at the end."""
    sprouts = [
        Sprout(token, at - 1, token_ids[: at + 1], 0.5, 0.5, (), "s") for at, token in enumerate(token_ids)
    ]
    guesses = [(at - 1, token, (at,)) for at, token in enumerate(token_ids)]
    return Growth(sprouts, [*guesses, (len(token_ids) - 1, 99, ("end",))])


def test_nothing_is_learnt_below_a_wrong_guess() -> None:
    assert [*chain(5, 6, 7).outcomes([5, 9, 7, 99])] == [((0,), True), ((1,), False)]


def test_guesses_that_were_no_nodes_are_learnt_from_too() -> None:
    assert [*chain(5).outcomes([5, 99])] == [((0,), True), (("end",), True)]


def test_guesses_beyond_what_came_teach_nothing() -> None:
    assert [*chain(5, 6).outcomes([5])] == [((0,), True)]
