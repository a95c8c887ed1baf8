"""From which vocabulary size, head share and tau on pruning pays.

A target pass with everything around it takes ``R + h(V)`` seconds with the full head and ``R + p + g`` with
the packed head: ``R`` is what pruning does not touch (target pass, drafter backbone, tree, the rest),
``h(V) = a + b V`` the full head, ``p`` the packed head, ``g`` vocabulary and gather. With ``tau`` tokens per
target pass, and ``rho`` the share of it that pruning keeps, pruning pays where

    rho (R + h(V)) > R + p + g

Solved for one of them after the other, this gives the least ``rho``, ``V``, and head share
``h(V) / (R + h(V))``. Prefill is left out: pruning does not change it.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from specframe.bench.report.bootstrap import Estimate, geometric_mean
from specframe.bench.report.ratios import Comparison
from specframe.bench.report.run import OVERALL, Run
from specframe.bench.report.times import TimeSplit, time_split
from specframe.bench.report.totals import totals
from specframe.bench.rows import BenchRow
from specframe.config import UNPRUNED

SAME_TREE = 0.05  # trees whose mean N differs by more are not compared: their heads did different work
SMALL_HEAD = 0.1  # a packed head of at most this share of V tells what a head takes over no row


@attrs.frozen(slots=True)
class StepCosts:
    """Seconds per target pass, by what they depend on.

    Attributes:
        untouched: R, all that pruning does not change.
        head_fixed: a, the full head's time over no row.
        head_per_row: b, the full head's time per row, above 0.
        packed_head: p, the packed head.
        vocabulary: g, vocabulary and gather of the pruned configuration.
    """

    untouched: float
    head_fixed: float
    head_per_row: float
    packed_head: float
    vocabulary: float

    def head(self, vocab_size: float) -> float:
        """Return h(V), the full head."""
        return self.head_fixed + self.head_per_row * vocab_size

    def full(self, vocab_size: float) -> float:
        """Return a whole step over the full vocabulary."""
        return self.untouched + self.head(vocab_size)

    @property
    def pruned(self) -> float:
        """A whole step over the active vocabulary."""
        return self.untouched + self.packed_head + self.vocabulary

    def head_share(self, vocab_size: float) -> float:
        """Return the head's share of a whole step over the full vocabulary."""
        return self.head(vocab_size) / self.full(vocab_size)

    def ratio(self, vocab_size: float, retention: float) -> float:
        """Return the speed of pruned against full when pruning keeps ``retention`` of tau."""
        return retention * self.full(vocab_size) / self.pruned

    def least_retention(self, vocab_size: float) -> float:
        """Return the share of tau that pruning has to keep to be as fast as full."""
        return self.pruned / self.full(vocab_size)

    def least_vocabulary(self, retention: float) -> float:
        """Return the vocabulary size from which pruning is faster, the rest as it is."""
        return (self.pruned / retention - self.untouched - self.head_fixed) / self.head_per_row

    def least_head_share(self, retention: float) -> float:
        """Return the head's share of a full step from which pruning is faster, the rest as it is."""
        return 1.0 - retention * self.untouched / self.pruned


@attrs.frozen(slots=True)
class BreakEven:
    """A pruned configuration against ``full``, from measured costs.

    Attributes:
        configuration: label.
        costs: per target pass.
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
        return self.costs.ratio(self.vocab_size, self.retention.value)

    @property
    def least_retention(self) -> float:
        """Least share of tau to keep."""
        return self.costs.least_retention(self.vocab_size)

    @property
    def least_vocabulary(self) -> float:
        """Least V; the active size where every larger vocabulary will do."""
        return max(self.costs.least_vocabulary(self.retention.value), self.active)

    @property
    def least_head_share(self) -> float:
        """Least head share."""
        return max(self.costs.least_head_share(self.retention.value), 0.0)


@attrs.frozen(slots=True)
class _Pair:
    """A pruned configuration and ``full`` on the prompts that both have."""

    ours: TimeSplit
    full: TimeSplit
    active: float
    retention: Estimate


def break_even(run: Run, against_full: Iterable[Comparison]) -> list[BreakEven]:
    """Return the break-even of every configuration that prunes and drafts the same trees as ``full``.

    Args:
        run: the rows.
        against_full: its comparisons with ``full``.
    """
    if UNPRUNED not in run.drafting:
        return []
    # Not the target's: a drafter may have a head of its own over fewer tokens.
    vocab_size = totals(run.of(UNPRUNED)).active_max or 0
    measured = {one.configuration: one.ratio for one in against_full if one.task == OVERALL}
    pairs = {
        label: _pair(run.pairs(label, UNPRUNED), vocab_size) for label in run.drafting if label in measured
    }
    known = {label: pair for label, pair in pairs.items() if pair is not None}
    fixed = _fixed_head_time(known.values(), vocab_size)
    return [
        BreakEven(
            label, _costs(pair, fixed, vocab_size), vocab_size, pair.active, pair.retention, measured[label]
        )
        for label, pair in known.items()
    ]


def _pair(rows: list[tuple[BenchRow, BenchRow]], vocab_size: int) -> _Pair | None:
    """Return what both did; None when nothing was pruned or the trees differ."""
    ours, theirs = totals([row for row, _ in rows]), totals([full for _, full in rows])
    pruned, full = time_split([row for row, _ in rows]), time_split([full for _, full in rows])
    retained = [one.report.tau / full.report.tau for one, full in rows if one.report.tau and full.report.tau]
    if not pruned or not full or not pruned.passes or not full.passes or not full.head or not retained:
        return None
    if not ours.active_mean or not ours.tree_nodes or not theirs.tree_nodes or ours.active_mean >= vocab_size:
        return None
    if abs(ours.tree_nodes / theirs.tree_nodes - 1) > SAME_TREE:
        return None
    return _Pair(pruned, full, ours.active_mean, geometric_mean(retained))


def _fixed_head_time(pairs: Iterable[_Pair], vocab_size: int) -> float:
    """Return a: where the line through the full head and the smallest packed one ends; 0 if none is small."""
    small = [pair for pair in pairs if pair.active <= SMALL_HEAD * vocab_size]
    if not small:
        return 0.0
    pair = min(small, key=lambda one: one.active)
    packed, full = pair.ours.head / pair.ours.passes, pair.full.head / pair.full.passes
    if packed >= full:
        return 0.0
    return max(packed - (full - packed) / (vocab_size - pair.active) * pair.active, 0.0)


def _costs(pair: _Pair, fixed: float, vocab_size: int) -> StepCosts:
    ours, full = pair.ours, pair.full
    head = full.head / full.passes
    fixed = min(fixed, 0.5 * head)
    return StepCosts(
        untouched=(_untouched(ours) + _untouched(full)) / 2,
        head_fixed=fixed,
        head_per_row=(head - fixed) / vocab_size,
        packed_head=ours.head / ours.passes,
        vocabulary=ours.vocabulary / ours.passes,
    )


def _untouched(split: TimeSplit) -> float:
    """Return R per target pass, which both measured: their mean takes the noise out of the comparison."""
    return (split.target + split.draft - split.head - split.vocabulary) / split.passes
