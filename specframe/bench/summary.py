"""The short table at the end of a benchmark, and what its checks say."""

from __future__ import annotations

from collections.abc import Sequence

from specframe.bench.checks import CheckResult
from specframe.bench.configurations import plain_name
from specframe.bench.report.analysis import Analysis
from specframe.bench.report.lossless import LosslessSummary
from specframe.bench.report.run import OVERALL
from specframe.bench.report.times import ms_per_pass
from specframe.bench.rows import BenchRow
from specframe.config import AUTOREGRESSIVE, UNPRUNED
from specframe.errors import SpecframeError
from specframe.ops.tables import shown


def summary(analysis: Analysis) -> list[dict[str, str]]:
    """Return one line per configuration, cells by the header of their column; blank where nobody knows.

    Speeds are all new tokens by all wall time, prefill included. Times and fetched rows are per target pass.
    """
    run = analysis.run
    speeds = {label: analysis.totals[label][OVERALL].tokens_per_s for label in run.configurations}
    # A baseline is compared with what samples as it does.
    alike = {label: run.of(label)[0].sampling for label in run.configurations}
    baselines = {(plain_name(label), alike[label]): speed for label, speed in speeds.items()}

    def cells(label: str) -> dict[str, str]:
        reports = [row.report for row in run.of(label)]
        passes = sum(one.target_passes for one in reports)
        totals, times = analysis.totals[label][OVERALL], analysis.times[label]

        def against(name: str) -> str:
            baseline = baselines.get((name, alike[label]))
            return f"{speeds[label] / baseline:.3f}" if baseline else ""

        return {
            "configuration": label,
            "tokens/s": f"{speeds[label]:.1f}",
            "/ autoregressive": against(AUTOREGRESSIVE),
            "/ full": against(UNPRUNED),
            "tau": f"{sum(one.new_tokens - 1 for one in reports) / passes:.3f}" if passes else "",
            "active": shown(totals.active_mean, ",.0f"),
            "coverage": shown(totals.coverage, ".3f"),
            "rows fetched": shown(totals.rows_fetched, ".1f"),
            "draft ms": ms_per_pass(times, lambda one: one.draft),
            "backbone": ms_per_pass(times, lambda one: one.backbone),
            "head": ms_per_pass(times, lambda one: one.head),
            "tree": ms_per_pass(times, lambda one: one.tree),
            "vocabulary": ms_per_pass(times, lambda one: one.vocabulary),
            "rest": ms_per_pass(times, lambda one: one.rest),
            "target ms": ms_per_pass(times, lambda one: one.target),
            "lossless": "LOSSY verifier"
            if any(one.lossy for one in reports)
            else _lossless(analysis.lossless[label]),
        }

    return [cells(label) for label in run.configurations]


def measuring_line(rows: Sequence[BenchRow]) -> str:
    """Return what recording the steps cost, as a share of the time after the prefill."""
    known = [row.report for row in rows if row.report.statistics_s is not None]
    after_prefill = sum(one.wall_s - (one.prefill_s or 0.0) for one in known)
    if not after_prefill:
        return ""
    share = sum(one.statistics_s or 0.0 for one in known) / after_prefill
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


def _lossless(found: LosslessSummary) -> str:
    if not found.checked:
        return "not checked"
    if found.failed:
        return f"FAILED: {found.failed} of {found.checked}"
    largest = shown(found.largest_margin, ".3g")
    tied = f"{found.not_maximum} ties up to {largest}" if found.not_maximum else "no ties"
    return f"{found.equal}/{found.compared} equal, {tied}" if found.compared else tied
