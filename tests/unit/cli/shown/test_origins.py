"""Every emitted token has one origin."""

from __future__ import annotations

import pytest
from shown import drafted

from specframe.cli.shown.origins import ALONE, BONUS, OUTSIDE, RECOVERED, Origin, Origins
from specframe.contracts.report import Rejection


@pytest.mark.parametrize(
    ("rejection", "last"), [(None, BONUS), ("drafter_miss", RECOVERED), ("oov", OUTSIDE)]
)
def test_the_last_token_of_a_pass_is_the_targets_own(rejection: Rejection | None, last: Origin) -> None:
    found = Origins("eagle", has_head=True).of_pass(drafted(1, [2, 3], 4, rejection, rejected=[5]))
    assert [origin.key for origin in found] == ["drafted", "drafted", last.key]


def test_a_pass_without_a_draft_is_the_targets_alone() -> None:
    assert Origins("eagle", has_head=True).of_pass(drafted(1, [], 4)) == [ALONE]


def test_a_token_after_the_end_has_none() -> None:
    assert len(Origins("eagle", has_head=True).of_pass(drafted(1, [2, 3], 4, emitted=1))) == 1


def test_sources_are_told_apart_also_where_their_nodes_were_rejected() -> None:
    origins = Origins("eagle", has_head=True)
    origins.of_pass(drafted(1, [], 4, "drafter_miss", rejected=[2], source="lookup"))
    origins.of_pass(drafted(1, [2], 4, source="recycled"))
    labels = [origin.label for origin in origins.all if origin.place is not None]
    assert labels == ["copied (lookup)", "recycled"]


def test_the_drafters_own_tokens_are_named_after_it() -> None:
    assert Origins("eagle", has_head=True).of_source(None).label == "eagle, by its head"
    assert Origins("copycat", has_head=False).of_source(None).label == "copycat"
