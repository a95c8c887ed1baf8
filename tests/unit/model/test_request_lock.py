"""One request at a time works; the newest wins; nobody waits."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from specframe.errors import SpecframeError
from specframe.model.request_lock import RequestLock


def request(request_lock: RequestLock) -> Generator[None, None, None]:
    """A request of three steps, with a consumer in between."""
    with request_lock.enter() as ticket:
        for _ in range(3):
            with request_lock.paused(ticket):
                yield


def test_one_request_after_the_other_works() -> None:
    request_lock = RequestLock()
    assert len([*request(request_lock), *request(request_lock)]) == 6


def test_an_older_request_that_goes_on_is_refused_and_the_newer_one_works() -> None:
    request_lock = RequestLock()
    older, newer = request(request_lock), request(request_lock)
    next(older)
    next(newer)
    with pytest.raises(SpecframeError, match="used for something else"):
        next(older)
    assert len([*newer]) == 2


def test_a_request_inside_another_ones_work_is_refused() -> None:
    request_lock = RequestLock()
    with request_lock.enter(), pytest.raises(SpecframeError, match="busy"):
        next(request(request_lock))


def test_an_abandoned_request_may_be_closed_inside_another_one() -> None:
    request_lock = RequestLock()
    abandoned = request(request_lock)
    next(abandoned)
    with request_lock.enter() as ticket:
        abandoned.close()  # as the garbage collector does, at any moment
        with pytest.raises(SpecframeError, match="busy"):
            next(request(request_lock))
        with request_lock.paused(ticket):
            pass


def test_whoever_uses_the_target_without_a_request_ends_those_that_are_paused() -> None:
    request_lock = RequestLock()
    paused = request(request_lock)
    next(paused)
    request_lock.pass_by()
    with pytest.raises(SpecframeError, match="used for something else"):
        next(paused)


def test_a_request_at_work_may_use_the_target() -> None:
    request_lock = RequestLock()
    with request_lock.enter() as ticket:
        request_lock.pass_by()
        with request_lock.paused(ticket):
            pass


def test_a_request_that_fails_makes_room() -> None:
    request_lock = RequestLock()
    with pytest.raises(ValueError, match="no"), request_lock.enter():
        raise ValueError("no")
    assert len([*request(request_lock)]) == 3
