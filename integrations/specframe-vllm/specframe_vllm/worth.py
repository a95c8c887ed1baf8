"""Whether drafts are worth their time, by how many requests decode at once: from measured steps.

A step is drafted where every request in it had drafts and gets new ones, and undrafted where none had and
none gets any. For every number of requests there are two medians of what a step takes, and tau, which is that
of all sizes until enough passes of this one were seen. The other way is tried now and then, ever more seldom
while that changes nothing.
"""

from __future__ import annotations

import statistics
from collections import deque

import attrs

# Steps of each way until a size is judged, and how many of the last ones count.
SAMPLES, WINDOW = 5, 9
# Passes over drafts until tau is known, those of a trial, and after how many passes an older one counts a
# third.
PASSES, TRIAL_PASSES, MEMORY = 64, 32, 256
# How many times the length of a trial lies between two of them: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 12, 192
# By how much the other way has to be faster, less is noise: no drafts, and drafts again.
MARGIN, MARGIN_BACK = 0.03, 0.06


@attrs.frozen(slots=True)
class Judgement:
    """A change of mind.

    Attributes:
        requests: how many decode at once.
        drafted: whether they are drafted from now on.
        gain: tokens per second with drafts, divided by those without.
    """

    requests: int
    drafted: bool
    gain: float


@attrs.define(slots=True, eq=False)
class _Passes:
    """Passes over drafts, and the tokens that they emitted; old ones fade."""

    tokens: float = 0.0
    count: float = 0.0

    def add(self, tokens: int, count: int) -> None:
        kept = max(0.0, 1 - count / MEMORY)
        self.tokens, self.count = self.tokens * kept + tokens, self.count * kept + count

    @property
    def tau(self) -> float | None:
        """Tokens per pass; None until enough were seen."""
        return self.tokens / self.count if self.count >= PASSES else None


@attrs.define(slots=True, eq=False)
class _Size:
    """What is known of a number of requests.

    Attributes:
        passes: over drafts.
        drafted: seconds of the last drafted steps.
        undrafted: seconds of the last undrafted steps.
        longer: how many times as long a drafted step takes, by the last trial; None until both ways were
            measured.
        choice: whether it is drafted; None until both ways were measured.
        left: steps until the next trial; None until one way was measured.
        pause: how many times its length passes before the next trial.
        trial: how many steps the trial goes on for; 0 where there is none.
    """

    passes: _Passes = attrs.field(factory=_Passes)
    drafted: deque[float] = attrs.field(factory=lambda: deque(maxlen=WINDOW))
    undrafted: deque[float] = attrs.field(factory=lambda: deque(maxlen=WINDOW))
    longer: float | None = None
    choice: bool | None = None
    left: int | None = None
    pause: int = FIRST_PAUSE
    trial: int = 0

    def seconds(self, drafted: bool) -> deque[float]:
        """Return the seconds of one way."""
        return self.drafted if drafted else self.undrafted


class Worth:
    """Decides step by step whether the requests of a batch get drafts.

    Attributes:
        steps: how often it was asked.
        undrafted: how often it said no.
        tried: how many of the steps only tried the other way.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}
        self._current: int | None = None
        self._passes = _Passes()
        self.steps, self.undrafted, self.tried = 0, 0, 0

    def drafts(self, requests: int) -> bool:
        """Return whether so many requests get drafts in the step that begins."""
        number = bucket(requests)
        size = self._sizes.setdefault(number, _Size())
        if self._current not in (None, number):
            self._sizes[self._current].trial = 0  # the steps of a trial follow one another
        self._current = number
        drafted = self._choice(number)
        if not size.trial and self._due(number, drafted):
            size.trial = _trial_steps(number, not drafted)
            size.left = size.pause * size.trial
            size.pause = min(2 * size.pause, LONGEST_PAUSE)  # until a trial changes something
            size.seconds(not drafted).clear()
        if size.trial:
            size.trial -= 1
            self.tried += 1
            drafted = not drafted
        self.steps += 1
        self.undrafted += not drafted
        return drafted

    def took(self, requests: int, drafted: bool, seconds: float, tokens: int) -> Judgement | None:
        """Take in a step of one way.

        Args:
            requests: that were in it, all of them decoding.
            drafted: which way.
            seconds: from the end of the step before to its own.
            tokens: that all requests emitted.

        Returns:
            What is done in another way from now on; None where all stays as it is.
        """
        number = bucket(requests)
        size = self._sizes.setdefault(number, _Size())
        size.seconds(drafted).append(seconds)
        if drafted:
            for passes in (self._passes, size.passes):
                passes.add(tokens, requests)
        before = self._choice(number)
        # Both ways at about the same time: what else the machine does changes.
        new = drafted != before or size.longer is None
        if new and min(len(size.drafted), len(size.undrafted)) >= SAMPLES:
            size.longer = statistics.median(size.drafted) / statistics.median(size.undrafted)
        gain = self.gain(requests)
        if gain is None:
            return None
        better = gain > 1 / (1 + MARGIN) if before else gain > 1 + MARGIN_BACK
        if size.choice is None or better != before:
            size.pause, size.trial = FIRST_PAUSE, 0
            size.left = size.pause * _trial_steps(number, not better)
        size.choice = better
        return None if better == before else Judgement(requests, better, gain)

    def gain(self, requests: int) -> float | None:
        """Return the tokens per second with drafts, divided by those without; None until it was measured."""
        size = self._sizes.get(bucket(requests))
        if size is None or size.longer is None:
            return None
        tau = size.passes.tau or self._passes.tau
        return None if tau is None else tau / size.longer

    @property
    def undrafted_from(self) -> int | None:
        """From how many requests on none gets drafts; None where more of them always do."""
        first = None
        for number in sorted(self._sizes):
            if self._choice(number):
                first = None
            elif first is None:
                first = number
        return first

    def _choice(self, number: int) -> bool:
        """Return which way a size goes; what was not measured follows from the next smaller and larger ones.

        The more requests there are, the less a draft brings.
        """
        own = self._sizes[number].choice
        if own is not None:
            return own
        smaller, larger = self._judged_beside(number)
        if smaller is not None and not self._sizes[smaller].choice:
            return False
        if larger is None or self._sizes[larger].choice:
            return True
        return number**2 < (smaller or 1) * larger  # as the nearer one, by their ratio

    def _judged_beside(self, number: int) -> tuple[int | None, int | None]:
        """Return the next smaller and the next larger size that were measured both ways."""
        judged = [other for other, size in self._sizes.items() if size.choice is not None]
        smaller = max((other for other in judged if other < number), default=None)
        return smaller, min((other for other in judged if other > number), default=None)

    def _due(self, number: int, drafted: bool) -> bool:
        """Return whether the other way is to be tried now."""
        size = self._sizes[number]
        if size.left is None:
            if len(size.seconds(drafted)) < SAMPLES or self._passes.tau is None:
                return False
            smaller, larger = self._judged_beside(number)
            followed = (
                (smaller is not None and larger is not None)
                or (smaller is not None and not self._sizes[smaller].choice)
                or (larger is not None and self._sizes[larger].choice)
            )
            # What others say is as good as a judgement of its own.
            size.left = size.pause * _trial_steps(number, not drafted) if followed else 0
        size.left -= 1
        return size.left < 0


def bucket(requests: int) -> int:
    """Return the smallest number of requests that shares its figures with this one.

    Below 16 each has its own, and beyond those that differ by an eighth at most share them.
    """
    step = max(1, 1 << requests.bit_length() >> 4)
    return requests - requests % step


def _trial_steps(requests: int, drafted: bool) -> int:
    """Return how long a trial is: its first step still has, or lacks, what the step before it drafted."""
    return 1 + max(SAMPLES, -(-TRIAL_PASSES // requests) if drafted else 0)
