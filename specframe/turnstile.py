"""Keeps requests from running into each other on one target."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from specframe.errors import SpecframeError


class Turnstile:
    """Lets one request at a time work; the newest one wins, and an older one that goes on is refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: object | None = None

    @contextmanager
    def enter(self) -> Iterator[object]:
        """Work as the newest request; yields its ticket.

        Raises:
            SpecframeError: another request is at work, in another thread or in a caller of this one.
        """
        if not self._lock.acquire(blocking=False):
            raise SpecframeError(
                "the target is busy with another request; allowed: one at a time. Threads need a lock around "
                "whole requests, or a target each"
            )
        try:
            ticket = self._newest = object()
            yield ticket
        finally:
            self._lock.release()

    @contextmanager
    def paused(self, ticket: object) -> Iterator[None]:
        """Let others work while the consumer has its turn.

        Raises:
            SpecframeError: another request has begun in the meantime.
        """
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
        if ticket is not self._newest:
            raise SpecframeError(
                "another request has begun on this target, so this one cannot go on; allowed: one at a time"
            )
