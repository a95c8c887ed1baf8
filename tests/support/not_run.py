"""The last line of a test run: which checks did not run, and how to get them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest


def reasons(skipped: Iterable[pytest.TestReport | pytest.CollectReport]) -> Counter[str]:
    """Return how many checks were skipped for every reason."""
    found: Counter[str] = Counter()
    for report in skipped:
        where = report.longrepr
        reason = where[2] if isinstance(where, tuple) else str(where)
        found[reason.removeprefix("Skipped: ")] += 1
    return found


def line(skipped: Iterable[pytest.TestReport | pytest.CollectReport]) -> str:
    """Return the line, or nothing where every check ran."""
    found = reasons(skipped)
    if not found:
        return ""
    each = "; ".join(f"{count} since {reason}" for reason, count in found.most_common())
    noun = "check" if found.total() == 1 else "checks"
    return f"{found.total()} {noun} did not run: {each}"


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Say it below everything else that pytest prints; the workers of a parallel run say nothing."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    if text := line(reporter.stats.get("skipped", ())):
        reporter.write_line(text, yellow=True)
