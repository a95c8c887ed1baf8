"""Decides from measured costs what to draft over, and whether to draft at all.

Four arms: ``pruned`` drafts over the strategy's active set, ``grown`` over a larger one, ``full`` over the
whole vocabulary, ``stopped`` drafts nothing. Only the arm that runs is measured, but every pass says
something about the others: an OOV rejection is what a larger vocabulary could have spared, and a token that
was accepted from outside the active set is what pruning would have lost. So all arms that draft have an
estimate of their tokens per pass at any time; their seconds are measured when they run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from specframe.clock import Phase
from specframe.options import option
from specframe.types import Arm

# An arm takes over when it is expected to be faster by this share: the estimates of a text are noisy.
_MARGIN = 0.04
# The same for the usual arm where another one drafts: both go by the same passes.
_WAY_BACK = 0.01
# Share of the time that may be lost by trying what is expected to be slower.
_TRIAL_SHARE = 0.025
# Target passes between two trials, whatever they cost: of drafting while stopped, of stopping while drafting.
_DRAFT_TRIAL_EVERY, _STOP_TRIAL_EVERY = 16, 32
# The first pass after a change pays for the change, so that two are the least that can be measured.
_SHORTEST = 2
# Drafted passes that an estimate of tokens remembers, and how much of it a pass without a draft leaves.
_MEMORY, _FADE = 48, 0.96
# A text is expected to accept this much more than drafting needs to pay, with the weight of so many passes.
_HOPE, _HOPE_WEIGHT = 1.2, 5.0
# Costs of an arm that has not run for so many passes are no longer believed.
_EXPIRY = 512
# Tokens outside the active set are rare ones, which a drafter finds less often than others: on the trace of
# docs/strategies.md the full vocabulary gains 0.034 tokens per pass where its other hits suggest 0.057.
_RARE = 0.6
# However well a text goes, the next token may be a miss.
_SUREST = 0.95
# A grown active set is taken to spare this share of the OOV rejections; there a core of 2,048 tokens leaves
# 2.7 % of the text uncovered where one of 512 leaves 4.6 %.
_SPARED = 0.5

_NO_COST: tuple[Phase, ...] = ("prefill", "consumer", "target_pass")


def controller_option() -> Any:
    """Declare the option ``controller`` of a strategy; with it, every strategy can be controlled."""
    return option(
        False,
        help="choose by measured cost between the active set, a larger one, the full vocabulary, and no "
        "draft; the token ids of a sampled run with a seed then depend on timing",
        tune=(False,),  # a replay measures nothing
    )


class Cost:
    """Seconds of one part of a step: the mean of the middle half of the last ones."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=9)
        self._measured_at = 0
        self._value = 0.0

    def add(self, seconds: float, now: int) -> None:
        """Take the seconds of target pass number ``now``."""
        self._last.append(seconds)
        ordered = sorted(self._last)
        cut = len(ordered) // 4
        middle = ordered[cut : len(ordered) - cut]
        self._value, self._measured_at = sum(middle) / len(middle), now

    def value(self, now: int, expiry: int | None = None) -> float | None:
        """Return the seconds at pass ``now``; None when unknown, or measured more than ``expiry`` before."""
        if not self._last or (expiry is not None and now - self._measured_at > expiry):
            return None
        return self._value


@attrs.define
class _Tokens:
    """What drafted passes emitted, and would have emitted with other arms; older passes count less."""

    weight: float
    emitted: dict[Arm, float]
    hits: float = 1.0  # drafted tokens that were accepted, and
    misses: float = 1.0  # drafter misses; one each before anything is known

    def mean(self, arm: Arm) -> float:
        return self.emitted[arm] / self.weight

    def scale(self, factor: float) -> None:
        self.weight *= factor
        for arm in self.emitted:
            self.emitted[arm] *= factor

    def gain(self, levels: float) -> float:
        """Return how many tokens a spared OOV rejection is worth, with so many levels left to draft."""
        hit = min(self.hits / (self.hits + self.misses), _SUREST)
        further: float = hit * (1 - hit**levels) / (1 - hit)
        return _RARE * further


class Controller:
    """Chooses an arm for every target pass.

    What the machine costs is remembered from request to request; what a text accepts is not.

    Args:
        arms: the arms that draft, the usual one first.
        max_depth: the deepest level of a draft tree.
        can_stop: whether the drafter can do without being asked for a while.
    """

    def __init__(self, arms: Sequence[Arm], max_depth: int, *, can_stop: bool) -> None:
        self._drafting = tuple(arms)
        self._usual = arms[0]
        self._max_depth = max_depth
        self._can_stop = can_stop
        self._now = 0  # target passes
        self.forget_costs()
        self.begin()

    def forget_costs(self) -> None:
        """Begin to measure anew: something else counts the seconds now."""
        self._pass_cost = Cost()
        self._rest_costs = {arm: Cost() for arm in self._drafting}
        self._stopped_cost = Cost()
        self._ever_stopped = False

    def begin(self) -> None:
        """Begin a request: a new text is drafted until it has shown what it accepts."""
        most = self._max_depth + 1.0
        hope = 2.0
        alone, drafted = self.expected_seconds("stopped"), self.expected_seconds(self._usual)
        if alone and drafted:
            hope = _HOPE * drafted / alone
        hope = min(hope, most)
        self._tokens = _Tokens(_HOPE_WEIGHT, dict.fromkeys(self._drafting, hope * _HOPE_WEIGHT))
        self._settled: Arm = self._usual
        self._running: Arm | None = None
        self._left = 0  # passes that are decided already
        self._changed = True  # the next drafted pass is the first of its arm
        self._budget = 0.0
        self._since_stopped = self._since_drafted = 0

    def choose(self) -> Arm:
        """Return the arm of the next target pass."""
        if self._left and self._running is not None:
            self._left -= 1
            return self._running
        best = self._fastest()
        back = best == self._usual and self._settled != "stopped"
        margin = _WAY_BACK if back else _MARGIN
        if best != self._settled and self._rate(best) > (1 + margin) * self._rate(self._settled):
            self._settled = best
            self._budget = 0.0  # saved while another arm ran, it would pay for many trials at once
        chosen, passes = self._trial() or (self._settled, 1)
        if chosen != self._running:
            self._left = max(passes, _SHORTEST if chosen != "stopped" else 1) - 1
            self._changed = True
        self._running = chosen
        return chosen

    def observe_stopped(self, seconds: Mapping[Phase, float]) -> None:
        """Take the seconds of a pass without a draft, which emitted one token."""
        self._now += 1
        spent = _rest(seconds) + seconds.get("target_pass", 0.0)
        if self._ever_stopped:  # the first one ever pays for what later ones find done
            self._stopped_cost.add(spent, self._now)
        self._ever_stopped = True
        self._since_stopped, self._since_drafted = 0, self._since_drafted + 1
        if self._tokens.weight > 1:
            self._tokens.scale(max(_FADE, 1 / self._tokens.weight))
        self._pay("stopped", spent)

    def observe(
        self, arm: Arm, seconds: Mapping[Phase, float], covered: Sequence[bool], at_leaf: bool
    ) -> None:
        """Take one drafted pass.

        Args:
            arm: that drafted.
            seconds: of the pass.
            covered: for every emitted token, whether it was in the strategy's active set when the tree was
                drafted.
            at_leaf: the path ended at a leaf of the tree, so nothing was rejected.
        """
        self._now += 1
        in_pass, rest = seconds.get("target_pass", 0.0), _rest(seconds)
        if not self._changed:
            self._pass_cost.add(in_pass, self._now)
            self._rest_costs[arm].add(rest, self._now)
        self._changed = False
        self._since_stopped, self._since_drafted = self._since_stopped + 1, 0
        self._count(arm, covered, at_leaf)
        self._pay(arm, in_pass + rest)

    def _count(self, arm: Arm, covered: Sequence[bool], at_leaf: bool) -> None:
        """Add what the pass emitted, and what it would have emitted with the other arms."""
        tokens, emitted = self._tokens, float(len(covered))
        fade = 1 - 1 / _MEMORY
        tokens.scale(fade)
        tokens.hits = fade * tokens.hits + len(covered) - 1
        oov = not at_leaf and not covered[-1]
        missed = not at_leaf and (covered[-1] or arm == "full")
        tokens.misses = fade * tokens.misses + missed
        lost = tokens.gain((self._max_depth + 1) / 2) if oov else 0.0
        if arm == "full":
            pruned = next((i for i, known in enumerate(covered[:-1]) if not known), len(covered) - 1) + 1.0
            lost = emitted - pruned
            counts: dict[Arm, float] = {"full": emitted, "grown": emitted - (1 - _SPARED) * lost}
            counts["pruned"] = pruned
        elif arm == "grown":
            spared = lost * _SPARED / (1 - _SPARED)
            counts = {"full": emitted + lost, "grown": emitted, "pruned": emitted - spared}
        else:
            counts = {"full": emitted + lost, "grown": emitted + _SPARED * lost, "pruned": emitted}
        tokens.weight += 1
        for other in tokens.emitted:
            tokens.emitted[other] += counts[other]

    def _trial(self) -> tuple[Arm, int] | None:
        """Return an arm to try, though it is expected to be slower, and for how many passes; or None."""
        if not self._can_stop:
            return None
        alone, usual = self.expected_seconds("stopped"), self.expected_seconds(self._usual)
        if self._settled != "stopped":
            if alone is None:
                return None if usual is None else ("stopped", 3)
            if self._since_stopped < _STOP_TRIAL_EVERY:
                return None
            return ("stopped", 1) if self._budget >= alone - 1 / self._rate(self._settled) else None
        if self._since_drafted < _DRAFT_TRIAL_EVERY:
            return None
        arm = self._fastest_draft()
        drafted = self.expected_seconds(arm)
        loss = 0.0 if drafted is None or alone is None else drafted - self._tokens.mean(arm) * alone
        return (arm, _SHORTEST) if self._budget >= _SHORTEST * loss else None

    def _pay(self, arm: Arm, spent: float) -> None:
        """Put a share of the time aside, and pay for a trial from it."""
        self._budget += _TRIAL_SHARE * spent
        if arm != self._settled:
            tokens = 1.0 if arm == "stopped" else self._tokens.mean(arm)
            self._budget -= max(spent - tokens / self._rate(self._settled), 0.0)

    def _fastest(self) -> Arm:
        """Return the arm to settle on: one does not stop before knowing what that costs."""
        draft = self._fastest_draft()
        knows = self._can_stop and self.expected_seconds("stopped") is not None
        return "stopped" if knows and self._rate("stopped") > self._rate(draft) else draft

    def _fastest_draft(self) -> Arm:
        """Return the usual arm that drafts, or another that is clearly faster."""
        arm = max(self._drafting, key=self._rate)
        return arm if self._rate(arm) > (1 + _MARGIN) * self._rate(self._usual) else self._usual

    def _rate(self, arm: Arm) -> float:
        """Return the expected tokens per second; of an arm that drafts, infinite before the first cost."""
        seconds = self.expected_seconds(arm)
        if seconds is None:
            return float("inf")
        return (1.0 if arm == "stopped" else self._tokens.mean(arm)) / max(seconds, 1e-9)

    def expected_seconds(self, arm: Arm) -> float | None:
        """Return the expected seconds of a pass; None before anything of the kind was measured.

        An arm that was never measured, or long ago, is expected to cost what the usual one does: so it is
        tried as soon as its tokens would be worth it at no cost.
        """
        if arm == "stopped":
            return self._stopped_cost.value(self._now)
        in_pass, usual = self._pass_cost.value(self._now), self._rest_costs[self._usual].value(self._now)
        rest = usual if arm == self._usual else self._rest_costs[arm].value(self._now, _EXPIRY)
        if rest is None:
            rest = usual
        return None if in_pass is None or rest is None else in_pass + rest


def _rest(seconds: Mapping[Phase, float]) -> float:
    """Return what a step took besides its target pass."""
    return sum(spent for phase, spent in seconds.items() if phase not in _NO_COST)
