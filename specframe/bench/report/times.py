"""Where the time goes, per target pass and per emitted token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from specframe.bench.rows import BenchRow
from specframe.contracts.report import GenerationReport


@attrs.frozen(slots=True, kw_only=True)
class TimeSplit:
    """Seconds of all rows of a configuration together; they sum to ``wall``.

    Attributes:
        backbone: the drafter without its head.
        head: the drafter's LM head with its top-k.
        tree: building the draft tree.
        vocabulary: admission to the active set and gather of its rows.
        rest: what else lies between two target passes: verdict, KV commit, statistics.
        target: target passes.
        prefill: reading the prompts, and whatever no other part has.
        passes: target passes.
        new_tokens: emitted.
    """

    backbone: float
    head: float
    tree: float
    vocabulary: float
    rest: float
    target: float
    prefill: float
    passes: int
    new_tokens: int

    @property
    def draft(self) -> float:
        """Everything between two target passes."""
        return self.backbone + self.head + self.tree + self.vocabulary + self.rest

    @property
    def wall(self) -> float:
        """All of it."""
        return self.draft + self.target + self.prefill

    @property
    def draft_parts(self) -> dict[str, float]:
        """The parts of the draft time by the names that reports show."""
        return {
            "backbone": self.backbone,
            "head": self.head,
            "tree": self.tree,
            "vocabulary + gather": self.vocabulary,
            "rest": self.rest,
        }


def time_split(rows: Sequence[BenchRow]) -> TimeSplit | None:
    """Return the split over the rows that have one; None when none has, as with peers."""
    reports = [row.report for row in rows if row.report.draft_s is not None]
    if not reports:
        return None

    def total(seconds: Callable[[GenerationReport], float | None]) -> float:
        return sum(seconds(report) or 0.0 for report in reports)

    between = total(lambda one: one.draft_s) + total(lambda one: one.verify_s)
    return TimeSplit(
        backbone=total(lambda one: one.draft_backbone_s),
        head=total(lambda one: one.draft_head_s),
        tree=total(lambda one: one.draft_tree_s),
        vocabulary=total(lambda one: one.vocabulary_s),
        rest=total(lambda one: one.draft_rest_s),
        target=total(lambda one: one.verify_s),
        prefill=total(lambda one: one.wall_s) - between,
        passes=sum(report.target_passes for report in reports),
        new_tokens=sum(report.new_tokens for report in reports),
    )


def ms_per_pass(times: TimeSplit | None, part: Callable[[TimeSplit], float]) -> str:
    """Return one part of the time per target pass, milliseconds; blank where nobody knows."""
    return "" if times is None or not times.passes else f"{1e3 * part(times) / times.passes:.2f}"
