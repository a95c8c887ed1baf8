"""What each drafter without a head guesses, and by what evidence."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specframe.errors import UsageError
from specframe_plugins.drafters import aded, token_recycling
from specframe_plugins.drafters import suffix as suffixes
from specframe_plugins.drafters.aded import TrigramSource
from specframe_plugins.drafters.components.aded import AdedOptions
from specframe_plugins.drafters.components.combine import CombineOptions
from specframe_plugins.drafters.components.graft import SOURCES
from specframe_plugins.drafters.components.suffix import SuffixOptions
from specframe_plugins.drafters.components.token_recycling import TokenRecyclingOptions
from specframe_plugins.drafters.graft import sources_of
from specframe_plugins.drafters.logitspec import NextNextSource
from specframe_plugins.drafters.suffix import SuffixSource
from specframe_plugins.drafters.token_recycling import RecyclingSource
from specframe_plugins.sources.growth import Growth, grow
from specframe_plugins.sources.source import Evidence, Guess, Seen, Source

TOKENS = st.integers(0, 3)


def begun(source: Source, *token_ids: int) -> Source:
    source.begin(token_ids)
    return source


def first(source: Source) -> dict[int, Evidence]:
    return {guess.token_id: guess.evidence for guess in source.after((), None)}


def seen(*rows: tuple[int, int, Sequence[int]], before: int = 0, last: int = 0) -> Seen:
    """Return what was seen of nodes (token, parent, top ids), all of them about as likely."""
    tokens, parents, top = zip(*rows, strict=True)
    return Seen(before, tokens, parents, top, last, [[0.5 / len(row)] * len(row) for row in top])


def recycling(context: int = 2, rows: int = 100) -> RecyclingSource:
    return RecyclingSource(topk=3, rows=rows, context=context, prompt_window=2, depth=4)


def test_recycling_guesses_what_the_target_found_likely_after_the_same_token() -> None:
    source = begun(recycling(), 9, 5)
    source.learn(seen((7, -1, [1, 2, 3]), before=5))
    source.read([8, 7])
    assert first(source) == {1: ("recycled", 1, 0), 2: ("recycled", 1, 1), 3: ("recycled", 1, 2)}


def test_recycling_prefers_what_followed_the_same_pair() -> None:
    source = begun(recycling(), 9, 5)
    source.learn(seen((7, -1, [1, 2, 3]), before=5))
    source.learn(seen((7, -1, [4, 5, 6]), before=8))
    source.read([5, 7])
    assert first(source) == {1: ("recycled", 2, 0), 2: ("recycled", 2, 1), 3: ("recycled", 2, 2)}


def test_recycling_of_single_tokens_keeps_what_came_last() -> None:
    source = begun(recycling(context=1), 9, 5)
    source.learn(seen((7, -1, [1, 2, 3]), before=5))
    source.learn(seen((7, -1, [4, 5, 6]), before=8))
    source.read([5, 7])
    assert [*first(source)] == [4, 5, 6]


def test_recycling_learns_from_rejected_nodes_too() -> None:
    source = begun(recycling(), 9, 5)
    source.learn(seen((5, -1, [1, 2, 3]), (6, 0, [7, 8, 9]), before=9))
    source.read([2, 5, 6])
    assert [*first(source)] == [7, 8, 9]


def test_recycling_learns_from_the_last_prompt_positions() -> None:
    source = begun(recycling(), 1, 2, 3)
    source.learn_prompt([2, 3], [[4, 5, 6], [7, 8, 9]])
    assert [*first(source)] == [7, 8, 9]


def test_recycling_keeps_no_more_rows_than_it_may() -> None:
    source = recycling(rows=4)
    for token in range(50):
        source.learn(seen((token, -1, [1, 2, 3]), before=60 + token))
    assert len(source._after) == 8  # single tokens and pairs


def test_the_runners_up_come_next_but_not_what_was_chosen() -> None:
    source = begun(NextNextSource(topk=3, length=8), 1, 2, 3)
    source.learn(seen((3, -1, [6, 4, 5])))
    source.read([6])
    assert first(source) == {4: ("next-next", "new", 0), 5: ("next-next", "new", 1)}


def test_below_a_runner_up_comes_what_followed_the_pair_before() -> None:
    source = begun(NextNextSource(topk=3, length=8), 1, 6, 4, 8, 9, 3)
    source.learn(seen((3, -1, [6, 4, 5])))
    source.read([6])
    guess = next(one for one in source.after((), None) if one.token_id == 4)
    assert guess.evidence == ("next-next", "said", 0)
    assert [one.token_id for one in source.after((4,), guess.state)] == [8]
    assert [one.token_id for one in source.after((4, 8), guess.state)] == [8]  # the state says where


def test_the_last_logits_are_those_after_the_accepted_path() -> None:
    source = begun(NextNextSource(topk=2, length=8), 1, 2, 3)
    source.learn(seen((3, -1, [6, 4]), (6, 0, [7, 5]), (8, 0, [1, 1]), last=1))
    source.read([6, 7])
    assert [*first(source)] == [5]


def suffix(*token_ids: int, tokens: int = 100) -> SuffixSource:
    source = SuffixSource(8, tokens)
    source.begin(token_ids)
    return source


def test_a_suffix_knows_all_tokens_that_followed_and_how_often() -> None:
    source = suffix(1, 2, 7, 1, 2, 7, 1, 2, 8, 9, 1, 2)
    assert first(source) == {7: ("suffix", 1, 2, 2), 8: ("suffix", 1, 1, 1)}


def test_a_longer_match_counts_for_itself() -> None:
    source = suffix(5, 1, 2, 7, 9, 1, 2, 8, 5, 1, 2)
    assert first(source) == {7: ("suffix", 2, 3, 1), 8: ("suffix", 1, 1, 1)}


def test_a_text_that_repeats_itself_goes_on_along_the_path() -> None:
    source, path, state = suffix(1, 2, 3, 1, 2), (), None
    for expected in (3, 1, 2, 3, 1):
        guess = next(iter(source.after(path, state)))
        assert guess.token_id == expected
        path, state = (*path, guess.token_id), guess.state


@given(text=st.lists(TOKENS, min_size=2, max_size=40))
def test_a_suffix_guesses_every_token_that_followed_the_last_one(text: list[int]) -> None:
    followed = {text[at + 1] for at in range(len(text) - 1) if text[at] == text[-1]}
    latest = [at for at in range(len(text) - 1) if text[at] == text[-1]][-24:]
    guessed = {*first(suffix(*text))}
    assert guessed == {text[at + 1] for at in latest}
    assert guessed <= followed


def test_a_suffix_goes_on_from_earlier_texts_until_it_is_told_to_forget() -> None:
    source = suffix(1, 2, 3)
    source.begin([9, 2])
    assert [*first(source)] == [3]
    source.forget()
    source.begin([9, 2])
    assert first(source) == {}


def test_a_match_does_not_reach_into_the_text_before() -> None:
    source = suffix(1, 2, 7, 1)
    source.begin([2])
    assert first(source) == {7: ("suffix", 0, 3, 1)}


def test_a_suffix_keeps_no_more_of_earlier_texts_than_it_may() -> None:
    source = suffix(*range(50), tokens=10)
    source.begin([3])
    assert first(source) == {}
    source.begin([45])
    assert [*first(source)] == [46]


def trigrams(simulations: int = 30) -> TrigramSource:
    return TrigramSource(topk=3, rows=50, simulations=simulations, exploration=1.0, depth=4)


def test_trigrams_of_the_prompt_are_drafted() -> None:
    source = begun(trigrams(), 1, 2, 3, 4, 1, 2)
    growth = grow([source], lambda _: 0.9, 8, 0.05)
    assert [one.path for one in growth.sprouts[:2]] == [(3,), (3, 4)]


def test_trigrams_follow_what_the_target_says() -> None:
    source = begun(trigrams(), 1, 2, 3, 1)
    for _ in range(6):
        source.learn(Seen(1, [2], [-1], [[8, 9]], 0, [[0.9, 0.05]]))
    source.read([2])
    likely = {guess.token_id: guess.evidence[1] for guess in source.after((), None)}
    assert max(likely, key=lambda token: likely[token]) == 8


def test_a_search_of_more_simulations_visits_more() -> None:
    sizes = []
    for simulations in (1, 40):
        source = begun(trigrams(simulations), *([1, 2, 3, 1, 2, 4, 2, 3, 2, 4, 1, 2] * 2))
        sizes.append(len(grow([source], lambda _: 0.9, 64, 0.01).sprouts))
    assert sizes[0] < sizes[1]


class Scripted(Source):
    """Guesses the same tokens after everything."""

    depth = 3

    def __init__(self, name: str, guesses: dict[int, float]) -> None:
        self.name, self._guesses = name, guesses

    def begin(self, token_ids: Sequence[int]) -> None:
        pass

    def read(self, token_ids: Sequence[int]) -> None:
        pass

    def after(self, path: Sequence[int], state: object) -> list[Guess]:
        return [Guess(token, (self.name, likely)) for token, likely in self._guesses.items()]

    def prior(self, evidence: Evidence) -> tuple[float, float]:
        return float(str(evidence[1])), 1.0


def grown(*sources: Source, most: int = 6) -> Growth:
    return grow(sources, lambda evidence: float(str(evidence[1])), most, 0.01)


def test_the_likeliest_nodes_are_grown_whoever_guessed_them() -> None:
    growth = grown(Scripted("one", {1: 0.5}), Scripted("other", {2: 0.3}), most=4)
    assert [one.path for one in growth.sprouts] == [(1,), (2,), (1, 1), (1, 2)]


def test_a_token_that_two_sources_guess_is_one_node_as_likely_as_the_better_says() -> None:
    growth = grown(Scripted("one", {1: 0.2}), Scripted("other", {1: 0.6}), most=1)
    assert [(one.token_id, one.probability) for one in growth.sprouts] == [(1, 0.6)]
    assert [evidence[0] for _, _, evidence in growth.guesses[:2]] == ["one", "other"]


@given(
    guesses=st.lists(st.dictionaries(TOKENS, st.floats(0.01, 1.0), max_size=4), min_size=1, max_size=3),
    most=st.integers(1, 20),
)
def test_children_never_add_up_to_more_than_one(guesses: list[dict[int, float]], most: int) -> None:
    growth = grown(*(Scripted(str(at), one) for at, one in enumerate(guesses)), most=most)
    assert len(growth.sprouts) <= most
    for parent in range(-1, len(growth.sprouts)):
        children = [one for one in growth.sprouts if one.parent == parent]
        assert sum(one.probability for one in children) <= 1.0 + 1e-9
        assert len({one.token_id for one in children}) == len(children)


def test_every_drafter_without_a_head_can_be_combined_and_none_twice() -> None:
    sources = sources_of("+".join([*SOURCES, *SOURCES]), 8)
    assert len({source.name for source in sources}) == len(sources) == 5


@pytest.mark.parametrize("text", ["", "lookup+", "suffixx"])
def test_an_unknown_source_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="unknown source"):
        CombineOptions(sources=text)


def test_the_defaults_are_sources() -> None:
    assert aded.source_of(AdedOptions()).depth > 1
    assert suffixes.source_of(SuffixOptions()).depth > 1
    assert token_recycling.source_of(TokenRecyclingOptions()).depth > 1


def test_few_requests_wait_until_a_full_suffix_source_has_forgotten_the_oldest() -> None:
    source, lengths = SuffixSource(4, 100), []
    source.begin(range(100))
    read = source.read

    def counted(token_ids: Sequence[int]) -> None:
        lengths.append(len(token_ids))
        read(token_ids)

    source.read = counted  # type: ignore[method-assign]
    for _ in range(20):
        source.begin([7, 8])
    assert [length for length in lengths if length > 2] == [75, 75]
