"""Decides from cost curves, and from what a text accepted so far, what is worth drafting.

A part of a step that costs c seconds and is expected to add g tokens raises the speed of S tokens per second
exactly when g > S c. So every part has a price in tokens, S c. A node of the draft tree adds one token if the
target follows the whole path to it (DySpec, arXiv 2410.11744, grows trees by this probability); a level adds
what its nodes are expected to bring beyond their own price (PEARL, arXiv 2408.11850, adapts the draft length
to the same end).

All seconds come from the cost model and none from a clock, so that a draft depends on its request and on the
costs alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from specframe.contracts.report import DraftKind
from specframe.contracts.tree import DraftTree, Verdict
from specframe.costs.model import CostModel
from specframe.engine.drafting.branches import Branches
from specframe.engine.drafting.calibration import Calibration

# What a pass leaves of the passes before it, in all that a request remembers.
_MEMORY = 0.97
# What a mean starts from never weighs less.
_LEAST_WEIGHT = 0.5
# A text is expected to go on along a drafted path in so many of ten cases, with the weight of so many.
_FOLLOWED, _FOLLOWED_WEIGHT = 0.6, 4.0
# Paths that a head promises for a text that it drafts well: what a draft is hoped to bring before there was
# one, with the weight of so many.
_HOPED = (0.75, 0.5, 0.33, 0.2, 0.12, 0.1, 0.08, 0.05)
_HOPE_WEIGHT = 4.0
# Of the tokens without a draft, the share that may be lost by trying one where none is expected to pay.
_TRIALS = 0.015
# A path of the context that is likelier says more about what it brings than about the head.
_BESIDE = 0.3
# A node brings more than its best child: further children, and the levels below. So many times as much (over
# made-up costs of three machines, 1.0 was up to 5 % slower and 1.8 as fast).
_FURTHER = 1.3
# The nodes that the next level is expected to add decide what one of them costs.
_NEXT_NODES = 3
# Active tokens of a request that has hardly begun.
_USUAL_ROWS = 1024
# Tokens outside the active set are rare ones, which a drafter finds less often than others: on a trace of
# SmolLM2 the full vocabulary gained 0.034 tokens per pass where its other hits suggested 0.057.
_RARE = 0.6
# Share of passes that an OOV rejection ends, before a text has shown its own.
_OUTSIDE, _OUTSIDE_WEIGHT = 0.03, 20.0
# Another vocabulary takes over when it is expected to be better by so many tokens per pass.
_MARGIN = 0.01


class Mean:
    """A mean that forgets: with every pass all values lose weight, what it starts from not more than most."""

    def __init__(self, start: float, weight: float) -> None:
        self._start, self._weight = start, weight
        self._sum = self._count = 0.0

    @property
    def value(self) -> float:
        """The mean now."""
        return (self._sum + self._start * self._weight) / (self._count + self._weight)

    def add(self, value: float, weight: float = 1.0) -> None:
        """Take a value."""
        self._sum += value * weight
        self._count += weight

    def fade(self) -> None:
        """Let a pass go by."""
        self._sum *= _MEMORY
        self._count *= _MEMORY
        self._weight = max(_MEMORY * self._weight, _LEAST_WEIGHT)


@attrs.define
class _Step:
    """One step while it is drafted and verified.

    Attributes:
        context: tokens before the draft tree.
        rows: active tokens that the head goes over; None for the full vocabulary.
        asked: the drafter was asked for a draft.
        drafts: so was its head.
        is_trial: though no draft is expected to pay.
        beside: probability of the first node of a path that needs no head.
        widths: nodes of the levels that the head drafted below the first.
        worthy: nodes so far that are worth their place in the target pass, the root included.
        branches: of the tree that is verified.
    """

    context: int
    rows: int | None
    asked: bool = False
    drafts: bool = False
    is_trial: bool = False
    beside: float = 0.0
    widths: list[int] = attrs.field(factory=list)
    worthy: int = 1
    branches: Branches | None = None


class StepBudget:
    """The ``Budget`` of one request.

    Args:
        costs: of the machine.
        context: tokens before the first step, T.
        deepest: the deepest level that the drafter can reach.
    """

    def __init__(self, costs: CostModel, context: int, deepest: int) -> None:
        self._costs = costs
        self._calibration = Calibration()
        self._followed = Mean(_FOLLOWED, _FOLLOWED_WEIGHT)
        self._outside = Mean(_OUTSIDE, _OUTSIDE_WEIGHT)
        self._step = _Step(context, 0)
        usual = costs.draft([costs.width] * min(1, max(deepest - 1, 0)), _USUAL_ROWS)
        self._usual_draft_s, self._draft_s = usual, Mean(usual, _HOPE_WEIGHT)
        self._head_calls = Mean(min(2.0, max(deepest, 1.0)), _HOPE_WEIGHT)
        self._tokens, self._seconds = _HOPE_WEIGHT, _HOPE_WEIGHT / costs.speed(_HOPED, usual, context)
        count = self._best_of(_HOPED)[0]
        self._accepted = Mean(sum(_HOPED[:count]), _HOPE_WEIGHT)
        self._longer_s = Mean(self.pass_s(1 + count) - self.pass_s(1), _HOPE_WEIGHT)
        self._put_aside = 0.0

    @property
    def price(self) -> float:
        """S, the tokens that a second is worth: this text's speed, and never less than without drafts."""
        return max(self._tokens / self._seconds, 1 / self.pass_s(1))

    @property
    def kind(self) -> DraftKind:
        """What the last draft went over."""
        step = self._step
        if not step.drafts:
            return "copied" if step.branches is not None and len(step.branches) > 1 else "none"
        return "full" if step.rows is None else "active"

    @property
    def expected_draft_s(self) -> float:
        """Seconds that the last draft is expected to have taken."""
        step = self._step
        if not step.asked:
            return 0.0
        return self._costs.draft(step.widths, step.rows) if step.drafts else self._costs.skip_s

    def pass_s(self, nodes: int) -> float:
        """Return the seconds that a target pass over so many nodes is expected to take now."""
        return self._costs.target_pass(nodes, self._step.context)

    def begin(self, context: int, rows: int | None) -> None:
        """Begin a step with so many tokens before its tree, and a head over so many rows; None for all."""
        self._step = _Step(context, rows)

    def ask(self, *, head: bool = True) -> None:
        """Note that the drafter is asked; with no word of it, its head drafts what it always does.

        Args:
            head: whether it has one.
        """
        self._step.asked, self._step.drafts = True, head

    def wants_full(self, active: int) -> bool:
        """Return whether the full vocabulary is worth more than ``active`` rows: what OOV rejections cost."""
        followed = self._followed.value
        lost = self._outside.value * _RARE * (followed + followed**2)
        width, calls = max(self._costs.width / 2, 1), self._head_calls.value
        more = self._costs.head(round(width), None) - self._costs.head(round(width), active)
        return lost - self.price * calls * more > _MARGIN

    def wants_head(self, path: Sequence[float] = ()) -> bool:
        """Return whether the head should draft, as in ``Budget``: a likely path leaves it less to gain."""
        beside = self._calibration(1, math.exp(path[0])) if path else 0.0
        # Without a path the choice is between drafts and none, so what a second is worth without drafts
        # decides. At the speed with drafts the answer would be the same, with less between yes and no.
        alone = 1 / self.pass_s(1)
        price = self.price if path else alone
        gain = self._accepted.value - price * self._longer_s.value
        step = self._step
        step.beside = beside
        step.drafts = (1 - beside) * gain > price * self._draft_s.value
        if not step.drafts and self._put_aside > price * self._usual_draft_s:
            hoped = (1 - beside) * self._best_of(_HOPED, alone)[1]
            step.drafts = step.is_trial = hoped > alone * self._usual_draft_s
        return step.drafts

    def beams(self, log_probs: Sequence[float]) -> int:
        """Return how many nodes of the level drafted last should get children, as in ``Budget``."""
        step, price, followed = self._step, self.price, self._followed.value
        depth = len(step.widths) + 1
        likely = [self._likely(depth, math.exp(min(one, 0.0))) for one in log_probs]
        node = price * (self.pass_s(step.worthy + _NEXT_NODES) - self.pass_s(step.worthy)) / _NEXT_NODES
        step.worthy += sum(one > node for one in likely)
        node = price * (self.pass_s(step.worthy + _NEXT_NODES) - self.pass_s(step.worthy)) / _NEXT_NODES
        best, chosen, gain = 0.0, 0, 0.0
        # However many levels follow, a path goes on for one token at most: where it nearly always does, the
        # best child is nearly all.
        further = min(followed * _FURTHER, (1 + followed) / 2)
        for width, one in enumerate(likely, start=1):
            gain += max(one * further - node, 0.0)
            net = gain - price * (self._costs.level_s(width) + self._costs.head(width, step.rows))
            if net > best:
                best, chosen = net, width
        if chosen:
            step.widths.append(chosen)
        return chosen

    def keep(self, tree: DraftTree) -> DraftTree:
        """Return the tree of the nodes that are worth their place in the target pass.

        Trees that were drawn stay whole, since what was drawn decides what may be accepted; so do those that
        are none, for the check that follows.
        """
        branches = Branches.of(tree)
        if branches is None:
            return tree
        if tree.sampled_from is None:
            likely = branches.probabilities(self._likely)
            order = sorted(range(1, len(branches)), key=lambda node: -likely[node])
            count, _ = self._best_of([likely[node] for node in order])
            tree, branches = branches.chosen([0, *sorted(order[:count])]).cut(tree)
        self._step.branches = branches
        return tree

    def learn(self, verdict: Verdict, active: Sequence[bool]) -> None:
        """Take what became of the step.

        Args:
            verdict: on the tree that was kept.
            active: for every emitted token, whether the strategy had it active.
        """
        step, accepted = self._step, len(verdict.accepted_ids)
        self._followed.fade()
        if step.drafts:
            for mean in (self._outside, self._draft_s, self._head_calls, self._accepted, self._longer_s):
                mean.fade()
        else:
            self._put_aside += _TRIALS
        nodes = 1 if step.branches is None else len(step.branches)
        spent = self.pass_s(nodes) + self.expected_draft_s
        self._tokens = _MEMORY * self._tokens + accepted + 1
        self._seconds = _MEMORY * self._seconds + spent
        if step.branches is not None and nodes > 1:
            self._learn_of_nodes(step.branches, verdict)
        if step.drafts:
            self._draft_s.add(self.expected_draft_s)
            self._head_calls.add(1.0 + len(step.widths))
            longer = self.pass_s(nodes) - self.pass_s(1)
            if step.beside < _BESIDE:
                self._accepted.add(accepted)
                self._longer_s.add(longer)
            if step.is_trial:
                self._put_aside -= max((longer + self.expected_draft_s) / self.pass_s(1) - accepted, 0.0)
            if step.rows is None:
                self._outside.add(1.0 if not all(active[:-1]) else 0.0)
            else:
                self._outside.add(0.0 if verdict.path_ends_at_leaf or active[-1] else 1.0)

    def _likely(self, depth: int, promised: float) -> float:
        """Return the probability of a path to a node; a trial believes what it is to find out about."""
        return promised if self._step.is_trial else self._calibration(depth, promised)

    def _learn_of_nodes(self, branches: Branches, verdict: Verdict) -> None:
        """Compare what the nodes promised with the accepted path."""
        on_path = set(verdict.path)
        self._calibration.learn(
            (depth, promised, node in on_path)
            for node, depth, promised in zip(branches.nodes, branches.depths, branches.promised, strict=True)
            if node
        )
        for _ in verdict.accepted_ids:
            self._followed.add(1.0)
        if not verdict.path_ends_at_leaf:
            self._followed.add(0.0)

    def _best_of(self, likely: Sequence[float], price: float | None = None) -> tuple[int, float]:
        """Return how many of the likeliest nodes to verify beside the root, and the tokens that they gain.

        Args:
            likely: probability of the path to each, falling.
            price: tokens that a second is worth; by default what it is worth now.
        """
        price, alone = self.price if price is None else price, self.pass_s(1)
        count, best, total = 0, 0.0, 0.0
        for nodes, one in enumerate(likely, start=1):
            total += one
            net = total - price * (self.pass_s(1 + nodes) - alone)
            if net > best:
                count, best = nodes, net
        return count, best
