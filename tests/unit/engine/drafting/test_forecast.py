"""What costs lead to on made-up texts, for people who ask whether drafting pays."""

from __future__ import annotations

from paper_machines import FLAT, IN_PROPORTION, paper_costs

from specframe.engine.drafting.forecast import forecast


def test_the_more_is_accepted_the_faster_it_is() -> None:
    speeds = [one.speed for one in forecast(paper_costs(FLAT))]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[0] > 2


def test_where_no_draft_pays_none_is_forecast() -> None:
    for one in forecast(paper_costs(IN_PROPORTION)):
        assert (one.drafted, one.nodes, one.tau, one.speed) == (0, 1, 1, 1)


def test_it_says_the_same_every_time() -> None:
    assert forecast(paper_costs(), (0.5,)) == forecast(paper_costs(), (0.5,))
