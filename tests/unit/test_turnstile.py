"""One request at a time works; the newest wins; nobody waits."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from specframe.errors import SpecframeError
from specframe.turnstile import Turnstile


def request(turnstile: Turnstile) -> Generator[None, None, None]:
    """A request of three steps, with a consumer in between."""
    with turnstile.enter() as ticket:
        for _ in range(3):
            with turnstile.paused(ticket):
                yield


def test_one_request_after_the_other_works() -> None:
    turnstile = Turnstile()
    assert len([*request(turnstile), *request(turnstile)]) == 6


def test_an_older_request_that_goes_on_is_refused_and_the_newer_one_works() -> None:
    turnstile = Turnstile()
    older, newer = request(turnstile), request(turnstile)
    next(older)
    next(newer)
    with pytest.raises(SpecframeError, match="used for something else"):
        next(older)
    assert len([*newer]) == 2


def test_a_request_inside_another_ones_work_is_refused() -> None:
    turnstile = Turnstile()
    with turnstile.enter(), pytest.raises(SpecframeError, match="busy"):
        next(request(turnstile))


def test_an_abandoned_request_may_be_closed_inside_another_one() -> None:
    turnstile = Turnstile()
    abandoned = request(turnstile)
    next(abandoned)
    with turnstile.enter() as ticket:
        abandoned.close()  # as the garbage collector does, at any moment
        with pytest.raises(SpecframeError, match="busy"):
            next(request(turnstile))
        with turnstile.paused(ticket):
            pass


def test_whoever_uses_the_target_without_a_request_ends_those_that_are_paused() -> None:
    turnstile = Turnstile()
    paused = request(turnstile)
    next(paused)
    turnstile.pass_by()
    with pytest.raises(SpecframeError, match="used for something else"):
        next(paused)


def test_a_request_at_work_may_use_the_target() -> None:
    turnstile = Turnstile()
    with turnstile.enter() as ticket:
        turnstile.pass_by()
        with turnstile.paused(ticket):
            pass


def test_a_request_that_fails_makes_room() -> None:
    turnstile = Turnstile()
    with pytest.raises(ValueError, match="no"), turnstile.enter():
        raise ValueError("no")
    assert len([*request(turnstile)]) == 3
