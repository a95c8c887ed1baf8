"""Decides from measured costs what to draft over, and whether to draft at all.

Four arms: ``pruned`` drafts over the strategy's active set, ``grown`` over a larger one, ``full`` over the
whole vocabulary, ``stopped`` drafts nothing. Only the arm that runs is measured, but every pass says
something about the others: an OOV rejection is what a larger vocabulary could have spared, and a token that
was accepted from outside the active set is what pruning would have lost. So all arms that draft have an
estimate of their tokens per pass at any time. Costs are measured when an arm runs, and kept as ratios of
times that were taken together: a machine that is busy for a while makes everything slower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from specframe.contracts.clock import Phase
from specframe.contracts.options import option
from specframe.contracts.report import Arm

# An arm takes over when it is expected to be faster by this share: the estimates of a text are noisy.
_MARGIN = 0.04
# The same for the usual arm where another one drafts: both go by the same passes.
_WAY_BACK = 0.01
# Share of the time that may be lost by trying what is expected to be slower.
_TRIAL_SHARE = 0.025
# Target passes between two trials, whatever they cost: of a draft while stopped, of others while drafting.
_DRAFT_TRIAL_EVERY, _TRIAL_EVERY = 16, 32
# Costs of a pass without a draft that must be known before one stops, and passes between finding them out.
_ENOUGH, _BETWEEN = 4, 8
# However dear it seems, drafting is tried after so many passes, in this request or a later one; and what was
# measured so long before the last time is forgotten. A cost may have been wrong.
_LONGEST_PAUSE = 256
# Passes before single times say something, and passes after a change that are compared with those before it.
_WARM, _BESIDE = 5, 3
# The first pass after a change pays for the change, so that two are the least that can be measured.
_SHORTEST = 2
# Drafted passes that an estimate of tokens remembers, and how much of it a pass without a draft leaves.
_MEMORY, _FADE = 48, 0.96
# A text is expected to accept this much more than drafting needs to pay, with the weight of so many passes.
_HOPE, _HOPE_WEIGHT = 1.2, 5.0
# Costs of an arm that has not run for so many passes are no longer believed.
_EXPIRY = 512
# Tokens outside the active set are rare ones, which a drafter finds less often than others: on a trace of
# SmolLM2 the full vocabulary gained 0.034 tokens per pass where its other hits suggested 0.057.
_RARE = 0.6
# Levels that a head drafts at most, as far as the worth of a token goes; copies of the context reach deeper.
_DEEPEST = 6
# However well a text goes, the next token may be a miss.
_SUREST = 0.95
# A grown active set is taken to spare this share of the OOV rejections; on that trace a core of 2,048 tokens
# leaves 2.7 % of the text uncovered where one of 512 leaves 4.6 %.
_SPARED = 0.5

_NO_COST: tuple[Phase, ...] = ("prefill", "consumer")


def controller_option() -> Any:
    """Declare the option ``controller`` of a strategy; with it, every strategy can be controlled."""
    return option(
        False,
        help="choose by measured cost between the active set, a larger one, the full vocabulary, and no "
        "draft; the token ids of a sampled run with a seed then depend on timing",
        tune=(False,),  # a replay measures nothing
    )


class Measured:
    """Something that is measured again and again: the mean of the middle half of the last values.

    Args:
        window: how many values it remembers.

    Attributes:
        count: how often it was measured.
    """

    def __init__(self, window: int = 9) -> None:
        self.count = 0
        self._last: deque[float] = deque(maxlen=window)
        self._measured_at = 0
        self._value = 0.0

    def add(self, value: float, now: int) -> None:
        """Take the value of target pass number ``now``."""
        if now - self._measured_at >= _LONGEST_PAUSE:
            self._last.clear()
        self.count += 1
        self._last.append(value)
        ordered = sorted(self._last)
        cut = len(ordered) // 4
        middle = ordered[cut : len(ordered) - cut]
        self._value, self._measured_at = sum(middle) / len(middle), now

    def value(self, now: int, expiry: int | None = None) -> float | None:
        """Return the mean at pass ``now``; None when unknown, or measured more than ``expiry`` before."""
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
        self._max_depth = min(max_depth, _DEEPEST)
        self._can_stop = can_stop
        self._now = 0  # target passes
        self._since_drafted = 0
        self.forget_costs()
        self.begin()

    def forget_costs(self) -> None:
        """Begin to measure anew: something else counts the seconds now."""
        # Seconds now: of a drafted pass without the head, which is what all costs are relative to, and of a
        # pass without a draft.
        self._drafted_s, self._stopped_s = Measured(5), Measured(5)
        self._head_costs = {arm: Measured() for arm in self._drafting}
        self._stopped_cost = Measured()

    def begin(self) -> None:
        """Begin a request: a new text is drafted until it has shown what it accepts."""
        most = self._max_depth + 1.0
        hope = 2.0
        alone, drafted = self.cost("stopped"), self.cost(self._usual)
        if alone and drafted:
            hope = _HOPE * drafted / alone
        hope = min(hope, most)
        self._tokens = _Tokens(_HOPE_WEIGHT, dict.fromkeys(self._drafting, hope * _HOPE_WEIGHT))
        self._settled: Arm = self._usual
        self._running: Arm | None = None
        self._left = 0  # passes that are decided already
        self._changed = True  # the next drafted pass is the first of its arm
        self._budget = 0.0
        self._since: dict[Arm, int] = dict.fromkeys((*self._drafting, "stopped"), 0)
        self._stopped_run = self._drafted_run = 0  # measured passes since the other one began

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
        self._advance("stopped")
        self._since_drafted += 1
        spent, drafted = _sum(seconds), self._drafted_s.value(self._now)
        # The first pass without a draft ever pays for what later ones find done.
        if (
            self._stopped_s.count
            and self._drafted_run >= _WARM
            and self._since_drafted <= _BESIDE
            and drafted
        ):
            self._stopped_cost.add(spent / drafted, self._now)
        self._stopped_s.add(spent, self._now)
        self._stopped_run += 1
        if self._since_drafted > _BESIDE:
            self._drafted_run = 0
        if self._tokens.weight > 1:
            self._tokens.scale(max(_FADE, 1 / self._tokens.weight))
        self._pay("stopped")

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
        self._advance(arm)
        # In a captured step the head has no time of its own.
        head = seconds.get("draft_head", seconds.get("draft_backbone", 0.0))
        common, stopped = _sum(seconds) - head, self._stopped_s.value(self._now)
        if not self._changed and common > 0:
            self._head_costs[arm].add(head / common, self._now)
            if self._stopped_run >= _WARM and self._since["stopped"] <= _BESIDE and stopped:
                self._stopped_cost.add(stopped / common, self._now)
            self._drafted_s.add(common, self._now)
            self._drafted_run += 1
            if self._since["stopped"] > _BESIDE:
                self._stopped_run = 0
        self._changed = False
        self._since_drafted = 0
        self._count(arm, covered, at_leaf)
        self._pay(arm)

    def _advance(self, arm: Arm) -> None:
        self._now += 1
        for other in self._since:
            self._since[other] += 1
        self._since[arm] = 0

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
        if self._settled == "stopped":
            draft = self._fastest_draft()
            since = self._since_drafted
            due = since >= _DRAFT_TRIAL_EVERY and self._can_afford(draft, _SHORTEST)
            return (draft, _SHORTEST) if due or since >= _LONGEST_PAUSE else None
        if self._can_stop and self._drafted_run >= _WARM:  # else there is nothing to compare with
            known = self._stopped_cost.count
            if known < _ENOUGH and (not known or self._since["stopped"] >= _BETWEEN):
                return "stopped", _BESIDE
            if self._since["stopped"] >= _TRIAL_EVERY and self._can_afford("stopped", 1):
                return "stopped", 1
        # Its tokens are known without it, but it may be long that its head was measured.
        due = self._settled != self._usual and self._since[self._usual] >= _TRIAL_EVERY
        return (self._usual, _SHORTEST) if due and self._can_afford(self._usual, _SHORTEST) else None

    def _can_afford(self, arm: Arm, passes: int) -> bool:
        """Return whether what was put aside pays for what so many passes of an arm are expected to lose."""
        return self._budget >= passes * self._loss(arm)

    def _loss(self, arm: Arm) -> float:
        """Return how much less the settled arm is expected to cost for the tokens of a pass."""
        tokens = 1.0 if arm == "stopped" else self._tokens.mean(arm)
        return max((self.cost(arm) or 0.0) - tokens / self._rate(self._settled), 0.0)

    def _pay(self, arm: Arm) -> None:
        """Put a share of what a pass costs aside, and pay for a trial from it."""
        self._budget += _TRIAL_SHARE * (self.cost(arm) or 0.0)
        if arm != self._settled:
            self._budget -= self._loss(arm)

    def _fastest(self) -> Arm:
        """Return the arm to settle on: one does not stop before knowing what that costs."""
        draft = self._fastest_draft()
        knows = self._is_warm and self._stopped_cost.count >= _ENOUGH
        return "stopped" if knows and self._rate("stopped") > self._rate(draft) else draft

    @property
    def _is_warm(self) -> bool:
        return self._head_costs[self._usual].count >= _WARM

    def _fastest_draft(self) -> Arm:
        """Return the usual arm that drafts, or another that is clearly faster."""
        arm = max(self._drafting, key=self._rate) if self._is_warm else self._usual
        # A few passes say little about OOV rejections.
        margin = _MARGIN * (1 + 2 * _HOPE_WEIGHT / self._tokens.weight)
        return arm if self._rate(arm) > (1 + margin) * self._rate(self._usual) else self._usual

    def _rate(self, arm: Arm) -> float:
        """Return the expected tokens per cost; of an arm that drafts, infinite before the first cost."""
        cost = self.cost(arm)
        if cost is None:
            return float("inf")
        return (1.0 if arm == "stopped" else self._tokens.mean(arm)) / max(cost, 1e-9)

    def cost(self, arm: Arm) -> float | None:
        """Return the expected cost of a pass, as a multiple of a drafted pass without the head.

        The head of an arm that was never measured, or long ago, is expected to cost what the usual one does:
        so the arm is tried as soon as its tokens would be worth it at no cost. The usual head is the
        smallest, so it is expected to cost no more than any other.

        Returns:
            None before anything of the kind was measured.
        """
        if arm == "stopped":
            return self._stopped_cost.value(self._now)
        heads = {one: cost.value(self._now, _EXPIRY) for one, cost in self._head_costs.items()}
        known = [cost for cost in heads.values() if cost is not None]
        if not known:
            return None
        own = heads[arm]
        return 1.0 + (min(known) if own is None or arm == self._usual else own)


def _sum(seconds: Mapping[Phase, float]) -> float:
    """Return what a step took."""
    return sum(spent for phase, spent in seconds.items() if phase not in _NO_COST)
