"""Keeps requests from running into each other on one target."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from specframe.errors import SpecframeError


class RequestLock:
    """Lets one request at a time work; the newest one wins, and an older one that goes on is refused.

    Nobody ever waits here: an abandoned iterator may be closed by the garbage collector, at any moment and
    inside any other request.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._newest: object | None = None
        self._working: object | None = None

    @contextmanager
    def enter(self) -> Iterator[object]:
        """Work as the newest request; yields its ticket.

        Raises:
            SpecframeError: another request is at work, in another thread or in a caller of this one.
        """
        with self._lock:
            if self._working is not None:
                raise SpecframeError(
                    "the target is busy with another request; allowed: one at a time. Threads need a lock "
                    "around whole requests, or a target each"
                )
            ticket = self._newest = self._working = object()
        try:
            yield ticket
        finally:
            with self._lock:
                if self._working is ticket:
                    self._working = None

    def pass_by(self) -> None:
        """Use the target without a request: whoever is paused cannot go on."""
        with self._lock:
            if self._working is None:
                self._newest = None

    @contextmanager
    def paused(self, ticket: object) -> Iterator[None]:
        """Let others work while the consumer has its turn; one that gives up does not come back.

        Raises:
            SpecframeError: another request has begun in the meantime.
        """
        self._working = None
        yield
        with self._lock:
            if ticket is not self._newest:
                raise SpecframeError(
                    "the target was used for something else, such as another request, so this request cannot "
                    "go on; allowed: one at a time"
                )
            self._working = ticket
