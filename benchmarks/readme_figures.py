"""What docs quote from a run of `specframe bench`, beside what the command itself prints.

python benchmarks/readme_figures.py rows.jsonl
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from specframe.bench.report.bootstrap import Estimate, geometric_mean
from specframe.bench.rows import BenchRow, read_rows

Speeds = dict[str, dict[tuple[str, str], float]]

# What `nanospec` must not be slower than, on any task.
OTHERS = ("full", "static:size=8192", "autoregressive")
SAMPLED = ":sampling."
# Drafts without what the context said before; compared with each other.
HEAD_ALONE = "drafter.lookup=0"


def main() -> None:
    """Print a table of all configurations, ratios by task, errors of costs, and what sampling keeps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, help="what `specframe bench --json` wrote")
    rows = read_rows(parser.parse_args().rows)
    speeds: Speeds = {}
    for row in rows:
        speeds.setdefault(row.configuration, {})[row.prompt] = row.report.tokens_per_s
    tasks = list(dict.fromkeys(row.report.task for row in rows))

    for name, of in speeds.items():
        print(_table_row(name, [row for row in rows if row.configuration == name], speeds))
        assert of.keys() == next(iter(speeds.values())).keys(), "an interrupted run"
    for mine in ("nanospec", f"nanospec:{HEAD_ALONE}"):
        for name in speeds:
            if mine in speeds and name != mine and SAMPLED not in name:
                print(f"{mine} / {name}: {_by_task(speeds, mine, name, tasks)}")
    if {"nanospec", *OTHERS} <= speeds.keys():
        for task in tasks:
            best = max(OTHERS, key=lambda other: _ratio(speeds, other, "autoregressive", task).value)
            print(f"nanospec, {task}: {_ratio(speeds, 'nanospec', best, task).value:.3f} of {best}")
        print(_limits(rows))
    for name in speeds:
        errors = [row.report.cost_error for row in rows if row.configuration == name]
        known = [error for error in errors if error is not None]
        if known:
            print(f"{name}: a step was off what its costs said by {median(known):.1%}")
        plain, _, sampling = name.partition(SAMPLED)
        alone = f"autoregressive{SAMPLED}{sampling.split(',')[0]}"
        greedy = ":".join([plain, *sampling.split(",")[1:]])
        if sampling and name != alone and alone in speeds and greedy in speeds:
            kept = geometric_mean(
                [
                    speed / speeds[alone][prompt] * speeds["autoregressive"][prompt] / speeds[greedy][prompt]
                    for prompt, speed in speeds[name].items()
                ]
            )
            print(f"{name} / {alone}: {_by_task(speeds, name, alone, tasks)}")
            print(f"{name}: keeps {_shown(kept)} of the speed-up of {greedy}")


def _table_row(name: str, rows: Sequence[BenchRow], speeds: Speeds) -> str:
    """Return a row of a markdown table: size, tau, coverage, milliseconds a pass, ratios."""
    reports = [row.report for row in rows]
    passes = sum(one.target_passes for one in reports)
    tokens = sum(one.new_tokens - 1 for one in reports)
    steps = [row.steps for row in rows if row.steps is not None]

    def ms(values: Sequence[float | None]) -> str:
        return f"{1e3 * sum(value or 0.0 for value in values) / passes:.1f} ms"

    cells = [name, "", f"{tokens / passes:.2f}", "", "", ""]
    if reports[0].drafter is not None:
        cells[1] = f"{sum(sum(step.active_size) for step in steps) / passes:,.0f}"
        cells[3] = f"{sum(sum(step.covered) for step in steps) / tokens:.2f}"
        cells[4], cells[5] = ms([one.draft_head_s for one in reports]), ms([one.draft_s for one in reports])
    cells.append("" if reports[0].verify_s is None else ms([one.verify_s for one in reports]))
    full = f"full:{HEAD_ALONE}" if HEAD_ALONE in name else "full"
    cells += [_shown(_ratio(speeds, name, base)) for base in (full, "autoregressive") if base in speeds]
    return f"| {' | '.join(cells)} |"


def _ratio(speeds: Speeds, name: str, baseline: str, task: str | None = None) -> Estimate:
    prompts = [prompt for prompt in speeds[name] if task in (None, prompt[0])]
    return geometric_mean([speeds[name][prompt] / speeds[baseline][prompt] for prompt in prompts])


def _by_task(speeds: Speeds, name: str, baseline: str, tasks: Sequence[str]) -> str:
    parts = [f"{task} {_ratio(speeds, name, baseline, task).value:.2f}" for task in tasks]
    return f"{_shown(_ratio(speeds, name, baseline))}; {', '.join(parts)}"


def _limits(rows: Sequence[BenchRow]) -> str:
    """Return what nanospec's trees would gain if drafts took no time, and if nodes took none either."""
    reports = {(row.configuration, row.prompt): row.report for row in rows}
    free_drafts: list[float] = []
    free_nodes: list[float] = []
    for (name, prompt), mine in reports.items():
        alone = reports["autoregressive", prompt]
        if name != "nanospec" or mine.verify_s is None or alone.verify_s is None:
            continue
        one_pass = alone.verify_s / alone.target_passes
        for found, passes in (
            (free_drafts, mine.verify_s),
            (free_nodes, mine.target_passes * one_pass),
        ):
            found.append(mine.new_tokens / ((mine.prefill_s or 0.0) + passes) / alone.tokens_per_s)
    return (
        f"nanospec / autoregressive, drafts for nothing: {geometric_mean(free_drafts).value:.2f}; "
        f"nodes for nothing too: {geometric_mean(free_nodes).value:.2f}"
    )


def _shown(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main()
