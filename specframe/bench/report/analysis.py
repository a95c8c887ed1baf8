"""Everything a report says about a run, computed once."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from specframe.bench.manifest import Manifest
from specframe.bench.report.active_sizes import ActiveSizes, active_sizes
from specframe.bench.report.break_even import BreakEven, break_even
from specframe.bench.report.estimates import ShapeEstimate, estimates
from specframe.bench.report.lossless import LosslessSummary, divergences, lossless_summary
from specframe.bench.report.memory import Memory, memory
from specframe.bench.report.path_ends import PathEnds, path_ends
from specframe.bench.report.ratios import Comparison, compare
from specframe.bench.report.run import OVERALL, Run
from specframe.bench.report.times import TimeSplit, time_split
from specframe.bench.report.totals import Totals, totals
from specframe.bench.rows import BenchRow
from specframe.config import UNPRUNED
from specframe.errors import SpecframeError


@attrs.frozen(slots=True, kw_only=True)
class Analysis:
    """A run in figures; mappings are by configuration, inner ones by task with ``overall`` first.

    Attributes:
        run: the rows.
        manifest: command, versions, machine.
        totals: speed, tau, coverage, active size.
        comparisons: tokens/s against each baseline.
        times: where the time goes; None for a peer.
        path_ends: OOV rejections and drafter misses of the configurations that draft.
        active_sizes: K by target pass, likewise.
        memory: bytes.
        lossless: checks.
        divergences: rows that differ from the baseline.
        break_even: pruned configurations against full.
        estimates: the same for other models.
    """

    run: Run
    manifest: Manifest
    totals: dict[str, dict[str, Totals]]
    comparisons: dict[str, list[Comparison]]
    times: dict[str, TimeSplit | None]
    path_ends: dict[str, dict[str, PathEnds]]
    active_sizes: dict[str, ActiveSizes]
    memory: dict[str, Memory]
    lossless: dict[str, LosslessSummary]
    divergences: list[BenchRow]
    break_even: list[BreakEven]
    estimates: list[ShapeEstimate]


def analyse(rows: Sequence[BenchRow], manifest: Manifest) -> Analysis:
    """Return the figures of a run.

    Raises:
        SpecframeError: there is no row.
    """
    if not rows:
        raise SpecframeError("there is nothing to report: the run has no rows")
    run = Run(tuple(rows), manifest.target["vocab_size"])
    tasks = (OVERALL, *run.tasks)
    comparisons = {baseline: compare(run, baseline) for baseline in run.baselines}
    found = break_even(run, comparisons.get(UNPRUNED, []))
    return Analysis(
        run=run,
        manifest=manifest,
        totals={
            label: {task: totals(of) for task in tasks if (of := run.of(label, task))}
            for label in run.configurations
        },
        comparisons=comparisons,
        times={label: time_split(run.of(label)) for label in run.configurations},
        path_ends={label: {task: path_ends(run.of(label, task)) for task in tasks} for label in run.drafting},
        active_sizes={label: active_sizes(run.of(label)) for label in run.drafting},
        memory={label: memory(run.of(label)) for label in run.configurations},
        lossless={label: lossless_summary(run.of(label)) for label in run.configurations},
        divergences=divergences(run.rows),
        break_even=found,
        estimates=estimates(run, found, manifest.target["hidden_size"]),
    )
