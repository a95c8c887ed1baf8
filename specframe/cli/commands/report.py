"""``specframe report``."""

from __future__ import annotations

from pathlib import Path

import attrs

from specframe.bench.command import BenchArguments
from specframe.cli.options import takes_options
from specframe.contracts.options import option, same_option


@attrs.frozen(slots=True, kw_only=True)
class ReportArguments:
    """What was benchmarked, and where the page goes."""

    rows: Path = option(help="What `specframe bench --json` wrote.", metavar="ROWS.jsonl")
    report: Path | None = same_option(BenchArguments, "report")


@takes_options
def report(arguments: ReportArguments) -> None:
    """Report on a benchmark that was run before.

    Prints the comparison, and writes the page with `--report`, without running anything again.
    """
    from specframe.bench.report.kept import show_kept

    show_kept(arguments.rows, arguments.report)
