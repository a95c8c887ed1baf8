"""Where the time goes, per target pass and per emitted token."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from specframe.bench.rows import BenchRow


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
    rows = [row for row in rows if row.draft_s is not None and row.verify_s is not None]
    if not rows:
        return None

    def total(name: str) -> float:
        return sum(getattr(row, name) or 0.0 for row in rows)

    named = [total(f"{part}_s") for part in ("draft_backbone", "draft_head", "draft_tree", "vocabulary")]
    return TimeSplit(
        backbone=named[0],
        head=named[1],
        tree=named[2],
        vocabulary=named[3],
        rest=total("draft_s") - sum(named),
        target=total("verify_s"),
        prefill=total("wall_s") - total("draft_s") - total("verify_s"),
        passes=sum(row.target_passes or 0 for row in rows),
        new_tokens=sum(row.new_tokens for row in rows),
    )
