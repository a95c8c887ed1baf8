"""Shows a sweep: a table, the options of the best, and a page about the last round."""

from __future__ import annotations

from pathlib import Path

from specframe.bench.report.answers import verdict
from specframe.bench.report.kept import show
from specframe.bench.report.terminal import interval, shown
from specframe.bench.report.times import TimeSplit
from specframe.bench.sweep import SweepResult
from specframe.ops.tables import print_table

_COLUMNS = (
    "configuration",
    "round",
    "prompts",
    "/ first",
    "tokens/s",
    "tau",
    "nodes",
    "draft ms",
    "target ms",
)


def show_sweep(result: SweepResult, directory: Path | None) -> None:
    """Print the last round as any benchmark, then all configurations and how the best one is typed.

    Args:
        result: of the sweep.
        directory: see ``write_report``; the page is about the last round and has a chart of all of them.

    Raises:
        UsageError: see ``write_report``.
        SpecframeError: see ``write_report``.
    """
    last = result.rounds[-1]
    more = []
    if directory is not None:
        # Imported late: needs a library that only a report needs.
        from specframe.bench.report.charts.gallery import sweep_chart

        more = [sweep_chart(result.standings, result.first)]
    show(last.rows, last.manifest, directory, more)
    print()
    print_table(sweep_rows(result), _COLUMNS, title=f"the sweep, tokens/s against {result.first}")
    print(best_line(result))


def sweep_rows(result: SweepResult) -> list[tuple[str, ...]]:
    """Return one line per configuration, in the order of the standings; times are per target pass.

    Tokens/s are the first configuration's times the ratio: rounds find a machine in different states.
    """
    (first,) = (one for one in result.standings if one.configuration.label == result.first)
    return [
        (
            one.configuration.label,
            str(one.round),
            str(one.totals.prompts),
            interval(one.ratio),
            f"{first.totals.tokens_per_s * one.ratio.value:.1f}",
            shown(one.totals.tau, ".3f"),
            shown(one.totals.tree_nodes, ".1f"),
            *_ms_per_pass(one.times),
        )
        for one in result.standings
    ]


def best_line(result: SweepResult) -> str:
    """Return how the best configuration is typed, and whether it clearly beats the first one."""
    best = result.standings[0]
    if best.configuration.label == result.first:
        return f"best: {result.first} as it is"
    typed = [f"--strategy {best.configuration.name}"]
    typed += [f"--{kind} {name}" for kind, name in best.configuration.choices.items()]
    for kind, options in best.configuration.options.items():
        typed += [f"-o {kind}.{name}={value}" for name, value in options.items()]
    return f"best: {' '.join(typed)} (against {result.first}: {verdict(best.ratio)})"


def _ms_per_pass(times: TimeSplit | None) -> tuple[str, str]:
    """Return draft time and target pass; blank where nobody knows."""
    if times is None or not times.passes:
        return "", ""
    return f"{1e3 * times.draft / times.passes:.2f}", f"{1e3 * times.target / times.passes:.2f}"
