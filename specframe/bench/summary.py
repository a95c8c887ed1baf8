"""The short table at the end of a benchmark, and what its checks say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from specframe.bench.checks import CheckResult
from specframe.bench.configurations import plain_name
from specframe.bench.rows import BenchRow
from specframe.config import AUTOREGRESSIVE, UNPRUNED
from specframe.errors import SpecframeError

COLUMNS = (
    "configuration",
    "tokens/s",
    "/ autoregressive",
    "/ full",
    "tau",
    "active",
    "coverage",
    "rows fetched",
    "draft ms",
    "backbone",
    "head",
    "tree",
    "vocabulary",
    "rest",
    "target ms",
    "lossless",
)


def summary_rows(rows: Sequence[BenchRow]) -> list[tuple[str, ...]]:
    """Return one line per configuration, in the order of the first prompt's rows by label.

    Speeds are all new tokens by all wall time, prefill included. Times and fetched rows are per target pass.
    """
    by_label: dict[str, list[BenchRow]] = {}
    for row in rows:
        by_label.setdefault(row.configuration, []).append(row)
    speeds = {label: _speed(own) for label, own in by_label.items()}
    baselines = {(plain_name(label), own[0].sampling): speeds[label] for label, own in by_label.items()}
    return [
        (
            label,
            f"{speeds[label]:.1f}",
            *(
                _ratio(speeds[label], baselines.get((name, own[0].sampling)))
                for name in (AUTOREGRESSIVE, UNPRUNED)
            ),
            *_steps(own),
            _lossless(own),
        )
        for label, own in by_label.items()
    ]


def measuring_line(rows: Sequence[BenchRow]) -> str:
    """Return what recording the steps cost, as a share of the time after the prefill."""
    known = [row for row in rows if row.statistics_s is not None and row.prefill_s is not None]
    after_prefill = sum(row.wall_s - (row.prefill_s or 0.0) for row in known)
    if not after_prefill:
        return ""
    share = sum(row.statistics_s or 0.0 for row in known) / after_prefill
    return f"recording the steps took {share:.2%} of the time after the prefill"


def check_lines(checks: Sequence[CheckResult]) -> list[str]:
    """Return one line per check that failed or could not be made, and one for all that passed."""
    lines = [
        f"{'FAILED' if check.passed is False else 'unknown'}: {check.configuration}, {check.check}: "
        f"{check.message}"
        for check in checks
        if not check.passed
    ]
    passed = sum(check.passed is True for check in checks)
    kinds = ", ".join(dict.fromkeys(check.check for check in checks if check.passed))
    return [*lines, f"{passed} checks passed ({kinds})"] if passed else lines


def failure(checks: Sequence[CheckResult]) -> SpecframeError | None:
    """Return the error that a benchmark ends with when a check failed."""
    failed = [check for check in checks if check.passed is False]
    if not failed:
        return None
    first, more = failed[0], len(failed) - 1
    rest = f" ({more} more failed check{'s' if more > 1 else ''} above)" if more else ""
    return SpecframeError(f"{first.configuration} fails the check {first.check!r}: {first.message}{rest}")


def _steps(rows: Sequence[BenchRow]) -> tuple[str, ...]:
    """Return tau to target time; blank where nobody knows."""
    passes = sum(row.target_passes or 0 for row in rows)
    from_passes = sum(row.new_tokens - 1 for row in rows)

    def shown(value: Callable[[BenchRow], float | None], of: int, form: str) -> str:
        values = [value(row) for row in rows]
        known = [one for one in values if one is not None]
        return format(sum(known) / of, form) if of and len(known) == len(values) else ""

    def per_pass(value: Callable[[BenchRow], float | None]) -> str:
        return shown(lambda row: None if (v := value(row)) is None else 1e3 * v, passes, ".2f")

    return (
        f"{from_passes / passes:.3f}" if passes else "",
        shown(lambda row: sum(row.steps.active_size) if row.steps and row.drafter else None, passes, ",.0f"),
        shown(lambda row: sum(row.steps.covered) if row.steps and row.drafter else None, from_passes, ".3f"),
        shown(lambda row: sum(row.steps.rows_fetched) if row.steps and row.drafter else None, passes, ".1f"),
        per_pass(lambda row: row.draft_s),
        per_pass(lambda row: row.draft_backbone_s),
        per_pass(lambda row: row.draft_head_s),
        per_pass(lambda row: row.draft_tree_s),
        per_pass(lambda row: row.vocabulary_s),
        per_pass(_rest),
        per_pass(lambda row: row.verify_s),
    )


def _rest(row: BenchRow) -> float | None:
    """Return the part of the draft time that has no name: verdict, commit, statistics."""
    parts = (row.draft_backbone_s, row.draft_head_s, row.draft_tree_s, row.vocabulary_s)
    return None if row.draft_s is None else row.draft_s - sum(part or 0.0 for part in parts)


def _lossless(rows: Sequence[BenchRow]) -> str:
    if any(row.lossy for row in rows):
        return "LOSSY verifier"
    judged = [row.lossless for row in rows if row.lossless is not None]
    if not judged:
        return "not checked"
    failed = sum(not one.passed for one in judged)
    if failed:
        return f"FAILED: {failed} of {len(judged)}"
    largest = max(one.largest_margin for one in judged)
    ties = sum(one.not_maximum for one in judged)
    tied = f"{ties} ties up to {largest:.3g}" if ties else "no ties"
    equal = [one.equal for one in judged if one.equal is not None]
    return f"{sum(equal)}/{len(equal)} equal, {tied}" if equal else tied


def _ratio(speed: float, baseline: float | None) -> str:
    return f"{speed / baseline:.3f}" if baseline else ""


def _speed(rows: Sequence[BenchRow]) -> float:
    seconds = sum(row.wall_s for row in rows)
    return sum(row.new_tokens for row in rows) / seconds if seconds else 0.0
