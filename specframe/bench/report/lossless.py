"""Whether every text is the target's own, ties between tokens aside."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from specframe.bench.rows import BenchRow


@attrs.frozen(slots=True)
class LosslessSummary:
    """Checks of a configuration's rows.

    Attributes:
        checked: rows that have a check.
        compared: of these, rows with an autoregressive text to compare with.
        equal: of these, rows whose ids are those of that text.
        failed: rows with a margin beyond the tolerance.
        not_maximum: emitted tokens that are not the target's maximum.
        new_tokens: tokens of the checked rows.
        largest_margin: of any emitted token; None where nothing was checked.
        tolerance: the largest margin that passes for a tie; None likewise.
    """

    checked: int
    compared: int
    equal: int
    failed: int
    not_maximum: int
    new_tokens: int
    largest_margin: float | None
    tolerance: float | None


def lossless_summary(rows: Sequence[BenchRow]) -> LosslessSummary:
    """Return the checks of rows summed up."""
    checks = [(row, row.lossless) for row in rows if row.lossless is not None]
    return LosslessSummary(
        checked=len(checks),
        compared=sum(check.equal is not None for _, check in checks),
        equal=sum(check.equal is True for _, check in checks),
        failed=sum(not check.passed for _, check in checks),
        not_maximum=sum(check.not_maximum for _, check in checks),
        new_tokens=sum(row.report.new_tokens for row, _ in checks),
        largest_margin=max((check.largest_margin for _, check in checks), default=None),
        tolerance=max((check.tolerance for _, check in checks), default=None),
    )


def divergences(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Return the rows that differ from the baseline or fail their check; the largest margins first."""
    found = [row for row in rows if row.lossless and (row.lossless.equal is False or not row.lossless.passed)]
    return sorted(found, key=lambda row: -(row.lossless.largest_margin if row.lossless else 0.0))
