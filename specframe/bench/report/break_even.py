"""From which vocabulary size, head share and tau on pruning pays.

A target pass with everything around it takes ``R + h(V)`` seconds with the full head and ``R + h(K) + g``
with the packed head: ``R`` is what pruning does not touch (target pass, drafter backbone, tree, the rest),
``h(n) = a + b n`` the head over ``n`` rows, ``g`` vocabulary and gather. With ``tau`` tokens per target pass,
and ``rho`` the share of it that pruning keeps, pruning pays where

    rho (R + h(V)) > R + h(K) + g

Solved for one of them after the other, this gives the least ``rho``, ``V``, and head share
``h(V) / (R + h(V))``. Prefill is left out: pruning does not change it.
"""

from __future__ import annotations

import attrs

from specframe.bench.report.bootstrap import Estimate, geometric_mean
from specframe.bench.report.ratios import Comparison
from specframe.bench.report.run import FULL, Run
from specframe.bench.report.times import TimeSplit, time_split
from specframe.bench.report.totals import totals
from specframe.bench.rows import BenchRow

SAME_TREE = 0.05  # trees whose mean N differs by more are not compared: their heads did different work


@attrs.frozen(slots=True)
class StepCosts:
    """Seconds per target pass, by what they depend on.

    Attributes:
        untouched: R, all that pruning does not change.
        head_fixed: a, the head's time over no row.
        head_per_row: b, the head's time per row.
        vocabulary: g, vocabulary and gather of a pruned configuration.
    """

    untouched: float
    head_fixed: float
    head_per_row: float
    vocabulary: float

    def head(self, rows: float) -> float:
        """Return h(n), the head over ``rows`` rows."""
        return self.head_fixed + self.head_per_row * rows

    def full(self, vocab_size: float) -> float:
        """Return a whole step over the full vocabulary."""
        return self.untouched + self.head(vocab_size)

    def pruned(self, active: float) -> float:
        """Return a whole step over ``active`` tokens."""
        return self.untouched + self.head(active) + self.vocabulary

    def head_share(self, vocab_size: float) -> float:
        """Return the head's share of a whole step over the full vocabulary."""
        return self.head(vocab_size) / self.full(vocab_size)

    def ratio(self, vocab_size: float, active: float, retention: float) -> float:
        """Return the speed of pruned against full when pruning keeps ``retention`` of tau."""
        return retention * self.full(vocab_size) / self.pruned(active)

    def least_retention(self, vocab_size: float, active: float) -> float:
        """Return the share of tau that pruning has to keep to be as fast as full."""
        return self.pruned(active) / self.full(vocab_size)

    def least_vocabulary(self, active: float, retention: float) -> float:
        """Return the vocabulary size from which pruning is faster, the rest as it is."""
        return (self.pruned(active) / retention - self.untouched - self.head_fixed) / self.head_per_row

    def least_head_share(self, active: float, retention: float) -> float:
        """Return the head's share of a whole step from which pruning is faster, the rest as it is."""
        return 1.0 - retention * self.untouched / self.pruned(active)


@attrs.frozen(slots=True)
class BreakEven:
    """A pruned configuration against ``full``, from measured costs.

    Attributes:
        configuration: label.
        costs: per target pass; the head's line goes through the two measured points.
        vocab_size: V, rows of the drafter's full head.
        active: K, mean.
        retention: share of full's tau that is kept, geometric mean over prompts.
        measured: tokens/s against full, prefill included, for comparison with ``predicted``.
    """

    configuration: str
    costs: StepCosts
    vocab_size: int
    active: float
    retention: Estimate
    measured: Estimate

    @property
    def head_share(self) -> float:
        """The head's share of a whole step with the full head."""
        return self.costs.head_share(self.vocab_size)

    @property
    def predicted(self) -> float:
        """Speed against full by the formula."""
        return self.costs.ratio(self.vocab_size, self.active, self.retention.value)

    @property
    def least_retention(self) -> float:
        """Least share of tau to keep."""
        return self.costs.least_retention(self.vocab_size, self.active)

    @property
    def least_vocabulary(self) -> float | None:
        """Least V; None where a row costs nothing measurable."""
        if self.costs.head_per_row <= 0:
            return None
        return max(self.costs.least_vocabulary(self.active, self.retention.value), self.active)

    @property
    def least_head_share(self) -> float:
        """Least head share."""
        return max(self.costs.least_head_share(self.active, self.retention.value), 0.0)


def break_even(run: Run, against_full: list[Comparison]) -> list[BreakEven]:
    """Return the break-even of every configuration that prunes and drafts the same trees as ``full``.

    Args:
        run: the rows.
        against_full: its comparisons with ``full``.
    """
    measured = {one.configuration: one.ratio for one in against_full if one.task == "overall"}
    if FULL not in run.drafting:
        return []
    # Not the target's: a drafter may have a head of its own over fewer tokens.
    vocab_size = totals(run.of(FULL)).active_max or 0
    found = []
    for label in run.drafting:
        pairs = run.pairs(label, FULL)
        retained = [row.tau / full.tau for row, full in pairs if row.tau and full.tau]
        if label not in measured or not retained:
            continue
        ours, theirs = [row for row, _ in pairs], [full for _, full in pairs]
        active = totals(ours).active_mean or 0.0
        costs = _costs(ours, theirs, vocab_size, active)
        if costs is not None and active < vocab_size:
            retention = geometric_mean(retained)
            found.append(BreakEven(label, costs, vocab_size, active, retention, measured[label]))
    return found


def _costs(ours: list[BenchRow], theirs: list[BenchRow], vocab_size: int, active: float) -> StepCosts | None:
    """Return the costs of a pruned configuration and ``full``; None when their trees differ."""
    nodes, full_nodes = totals(ours).tree_nodes, totals(theirs).tree_nodes
    pruned, full = time_split(ours), time_split(theirs)
    if not nodes or not full_nodes or abs(nodes / full_nodes - 1) > SAME_TREE or not pruned or not full:
        return None
    if not pruned.passes or not full.passes or active >= vocab_size:
        return None
    head, full_head = pruned.head / pruned.passes, full.head / full.passes
    per_row = (full_head - head) / (vocab_size - active)
    return StepCosts(
        untouched=(_untouched(pruned) + _untouched(full)) / 2,
        head_fixed=head - per_row * active,
        head_per_row=per_row,
        vocabulary=pruned.vocabulary / pruned.passes,
    )


def _untouched(split: TimeSplit) -> float:
    """Return R per target pass, which both measured: their mean takes the noise out of the comparison."""
    return (split.target + split.draft - split.head - split.vocabulary) / split.passes
