"""Shows a run: one that has just ended, or one that left its rows and manifest before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from specframe.bench.manifest import Manifest, manifest_path, read_manifest
from specframe.bench.report.analysis import analyse
from specframe.bench.report.directory import check_report_directory
from specframe.bench.report.terminal import print_ratios
from specframe.bench.report.writing import write_report
from specframe.bench.rows import BenchRow, read_interrupted, read_rows
from specframe.bench.summary import check_lines, measuring_line, summary
from specframe.ops.tables import print_records

if TYPE_CHECKING:
    from specframe.bench.report.charts.gallery import Chart


def show_kept(rows: Path, directory: Path | None) -> None:
    """Show a run that was made before; arguments and errors as in ``show``.

    Args:
        rows: file that ``specframe bench --json`` wrote; its manifest is beside it.
        directory: where the page goes; None for none.

    Raises:
        SpecframeError: rows or manifest cannot be read.
    """
    if directory is not None:
        check_report_directory(directory)
    manifest = read_manifest(manifest_path(rows))
    show((read_rows if manifest.finished else read_interrupted)(rows), manifest, directory)


def show(
    rows: Sequence[BenchRow], manifest: Manifest, directory: Path | None, more: Sequence[Chart] = ()
) -> None:
    """Print the comparison and what the run's checks say, and write the page if there is a place for it.

    Args:
        rows: of the run, at least one.
        manifest: of the run.
        directory: see ``write_report``.
        more: likewise.

    Raises:
        UsageError: see ``write_report``.
        SpecframeError: see ``write_report``.
    """
    analysis = analyse(rows, manifest)
    print_records(summary(analysis))
    print()
    print_ratios(analysis)
    print(*filter(None, [measuring_line(rows), *check_lines(manifest.findings)]), sep="\n")
    if directory is not None:
        print(f"report: {write_report(rows, manifest, directory, more)}")
