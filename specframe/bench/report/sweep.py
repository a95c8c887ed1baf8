"""Shows a sweep: a table, the options of the best, and a page about the last round."""

from __future__ import annotations

from pathlib import Path

from specframe.bench.report.answers import verdict
from specframe.bench.report.kept import show
from specframe.bench.report.terminal import interval
from specframe.bench.report.times import ms_per_pass
from specframe.bench.sweep import SweepResult
from specframe.ops.tables import print_records, shown


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
    print_records(sweep_rows(result), title=f"the sweep, tokens/s against {result.first}")
    print(best_line(result))


def sweep_rows(result: SweepResult) -> list[dict[str, str]]:
    """Return one line per configuration, in the order of the standings; times are per target pass.

    Tokens/s are the first configuration's times the ratio: rounds find a machine in different states.
    """
    (first,) = (one for one in result.standings if one.configuration.label == result.first)
    return [
        {
            "configuration": one.configuration.label,
            "round": str(one.round),
            "prompts": str(one.totals.prompts),
            "/ first": interval(one.ratio),
            "tokens/s": f"{first.totals.tokens_per_s * one.ratio.value:.1f}",
            "tau": shown(one.totals.tau, ".3f"),
            "nodes": shown(one.totals.tree_nodes, ".1f"),
            "draft ms": ms_per_pass(one.times, lambda times: times.draft),
            "target ms": ms_per_pass(one.times, lambda times: times.target),
        }
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
