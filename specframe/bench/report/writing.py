"""Writes a report: a page and its charts, all of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from specframe.bench.manifest import Manifest
from specframe.bench.report.analysis import analyse
from specframe.bench.report.directory import PAGE, check_report_directory
from specframe.bench.rows import BenchRow
from specframe.errors import SpecframeError

# Imported for types only: charts need libraries that only a report needs.
if TYPE_CHECKING:
    from specframe.bench.report.charts.gallery import Chart


def write_report(
    rows: Sequence[BenchRow], manifest: Manifest, directory: Path, more: Sequence[Chart] = ()
) -> Path:
    """Write the report of a run and return its page; an earlier report in the directory is replaced.

    Everything is written beside the directory first and moved when it is complete.

    Args:
        rows: of the run, at least one.
        manifest: of the run.
        directory: made if need be; gets ``index.html`` and one PNG file per chart.
        more: charts beside those that every run has.

    Raises:
        UsageError: see ``check_report_directory``.
        SpecframeError: there are no rows, or writing failed; nothing is left behind then.
    """
    check_report_directory(directory)
    analysis = analyse(rows, manifest)
    # Imported late: both need libraries that only a report needs.
    from specframe.bench.report.charts.gallery import charts
    from specframe.bench.report.page import page

    images = [chart.images() for chart in (*more, *charts(analysis))]
    files = {f"{image.name}.png": image.light for image in images}
    files[PAGE] = page(analysis, images).encode("utf-8")
    directory = directory.absolute()
    scratch: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        fresh = scratch / "new"
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        if directory.exists():
            directory.rename(scratch / "old")
        fresh.rename(directory)
    except OSError as error:
        raise SpecframeError(f"cannot write the report to {directory}: {error.strerror or error}") from None
    finally:
        if scratch is not None:
            if (scratch / "old").exists() and not directory.exists():
                (scratch / "old").rename(directory)
            shutil.rmtree(scratch, ignore_errors=True)
    return directory / PAGE
