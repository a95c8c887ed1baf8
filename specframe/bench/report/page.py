"""The report as one HTML page that needs nothing else: no script, no file, no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined

from specframe.bench.report.analysis import Analysis
from specframe.bench.report.answers import answers, overall
from specframe.bench.report.bootstrap import CONFIDENCE, FEWEST_PROMPTS
from specframe.bench.report.charts.gallery import Images
from specframe.bench.report.charts.theme import LIGHT, colours
from specframe.bench.report.run import OVERALL
from specframe.bench.report.terminal import interval, ratios
from specframe.config import UNPRUNED
from specframe.ops.tables import shown

_CHART_GROUPS = {
    "speed": ("sweep", "speed-against-"),
    "time": ("time-split",),
    "drafts": ("acceptance-by-depth", "rejections-"),
    "active": ("active-size", "coverage-"),
    "break_even": ("break-even",),
}


def page(analysis: Analysis, images: Sequence[Images]) -> str:
    """Return the page with its images inline."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        interval=interval,
        shown=shown,
        percent=lambda value, digits=1: "" if value is None else f"{100 * value:.{digits}f}%",
        ms=lambda seconds, digits=2: f"{1e3 * seconds:.{digits}f}",
        bytes=_bytes,
        data_uri=lambda png: "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
    )
    source = resources.files(__package__ or "").joinpath("page.html.j2").read_text(encoding="utf-8")
    run = analysis.run
    groups = {
        group: [image for image in images if image.name.startswith(prefixes)]
        for group, prefixes in _CHART_GROUPS.items()
    }
    return environment.from_string(source).render(
        analysis=analysis,
        run=run,
        manifest=analysis.manifest,
        first=run.rows[0].report,
        answers=answers(analysis),
        against={
            (label, baseline): overall(analysis, label, baseline)
            for label in run.configurations
            for baseline in run.baselines
        },
        ratio_tables={
            baseline: ratios(analysis, baseline)
            for baseline in run.baselines
            if analysis.comparisons[baseline]
        },
        colours=colours(run.configurations, LIGHT),
        charts=groups,
        deepest=max((len(of[OVERALL].oov_by_depth) for of in analysis.path_ends.values()), default=0),
        retained=_best_retention(analysis),
        failed=sum(check.failed for check in analysis.lossless.values()),
        checked=sum(check.checked for check in analysis.lossless.values()),
        lossy=sorted({row.configuration for row in run.rows if row.report.lossy}),
        fallen_back=sum(row.report.fallback is not None for row in run.rows),
        findings=[finding for finding in analysis.manifest.findings if not finding.passed],
        confidence=f"{CONFIDENCE:.0%}",
        fewest=FEWEST_PROMPTS,
        OVERALL=OVERALL,
        FULL=UNPRUNED,
    )


def _best_retention(analysis: Analysis) -> float | None:
    """Return the share of tau that the fastest pruned configuration keeps, for the estimates."""
    best = max(analysis.break_even, key=lambda one: one.measured.value, default=None)
    return None if best is None else best.retention.value


def _bytes(count: int | None) -> str:
    if count is None:
        return ""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
