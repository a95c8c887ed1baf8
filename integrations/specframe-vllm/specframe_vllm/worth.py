"""Whether drafts are worth their time, by how many requests decode at once: from measured steps.

A step is drafted where every request in it had drafts and gets new ones, and undrafted where none had and
none gets any. What a pass over a draft brings hardly depends on how many requests there are, so tau is one
figure; what a step takes does, so every size has two medians. The other way is tried now and then, ever more
seldom while that changes nothing.
"""

from __future__ import annotations

import statistics
from collections import deque

import attrs

# Steps of each way until a size is judged, and how many of the last ones count: those of a new trial are
# more than half of them.
SAMPLES, WINDOW = 5, 9
# Passes over drafts until tau is known, those of a trial, and after how many passes an older one counts a
# third.
PASSES, TRIAL_PASSES, MEMORY = 64, 32, 256
# How many times the length of a trial lies between two of them: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 12, 192
# By how much the other way has to be faster: less is noise.
MARGIN = 0.03


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
class _Size:
    """What is known of a number of requests.

    Attributes:
        drafted: seconds of the last drafted steps.
        undrafted: seconds of the last undrafted steps.
        choice: whether it is drafted; None until both ways were measured.
        left: steps until the next trial; None until one way was measured.
        pause: how many times its length passes before the next trial.
        trial: how many steps the trial goes on for; 0 where there is none.
    """

    drafted: deque[float] = attrs.field(factory=lambda: deque(maxlen=WINDOW))
    undrafted: deque[float] = attrs.field(factory=lambda: deque(maxlen=WINDOW))
    choice: bool | None = None
    left: int | None = None
    pause: int = FIRST_PAUSE
    trial: int = 0


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
        self._tokens, self._passes = 0.0, 0.0
        self.steps, self.undrafted, self.tried = 0, 0, 0

    def drafts(self, requests: int) -> bool:
        """Return whether so many requests get drafts in the step that begins."""
        number = bucket(requests)
        size = self._sizes.setdefault(number, _Size())
        if self._current not in (None, number):
            self._sizes[self._current].trial = 0  # the steps of a trial follow one another
        self._current = number
        drafted = self._choice(number)
        if not size.trial and self._due(size, drafted):
            size.trial = _trial_steps(number, not drafted)
            size.left = size.pause * size.trial
            size.pause = min(2 * size.pause, LONGEST_PAUSE)  # until a trial changes something
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
        (size.drafted if drafted else size.undrafted).append(seconds)
        if drafted:
            kept = max(0.0, 1 - requests / MEMORY)
            self._tokens, self._passes = self._tokens * kept + tokens, self._passes * kept + requests
        gain = self.gain(requests)
        if gain is None:
            return None
        before = self._choice(number)
        better = gain > 1 / (1 + MARGIN) if before else gain > 1 + MARGIN
        if size.choice is None or better != before:
            size.pause, size.trial = FIRST_PAUSE, 0
            size.left = size.pause * _trial_steps(number, not better)
        size.choice = better
        return None if better == before else Judgement(requests, better, gain)

    @property
    def tau(self) -> float | None:
        """Tokens per pass over a draft; None until enough passes were seen."""
        return self._tokens / self._passes if self._passes >= PASSES else None

    def gain(self, requests: int) -> float | None:
        """Return the tokens per second with drafts, divided by those without; None until it was measured."""
        size, tau = self._sizes.get(bucket(requests)), self.tau
        if size is None or tau is None or min(len(size.drafted), len(size.undrafted)) < SAMPLES:
            return None
        return tau * statistics.median(size.undrafted) / statistics.median(size.drafted)

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
        """Return which way a size goes; what was not measured is drafted unless a smaller one is not.

        The more requests there are, the less a draft brings.
        """
        own = self._sizes[number].choice
        if own is not None:
            return own
        smaller = [other for other, size in self._sizes.items() if other < number and size.choice is not None]
        return not smaller or bool(self._sizes[max(smaller)].choice)

    def _due(self, size: _Size, drafted: bool) -> bool:
        """Return whether the other way is to be tried now."""
        if size.left is None:
            measured = len(size.drafted if drafted else size.undrafted) >= SAMPLES
            if not measured or self.tau is None:
                return False
            size.left = 0
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
