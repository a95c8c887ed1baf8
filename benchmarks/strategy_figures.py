"""The comparison of strategies in docs/strategies.md, from a run of `specframe bench`.

python benchmarks/strategy_figures.py rows.jsonl
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from specframe.bench.report.bootstrap import geometric_mean
from specframe.bench.rows import BenchRow, read_rows

# What others are compared with, by the size of the vocabulary.
BASELINE = "static"


def main() -> None:
    """Print a line for each configuration, what a head without cost would bring, and ratios by task."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, help="what `specframe bench --json` wrote")
    parser.add_argument("--baseline", default=BASELINE)
    given = parser.parse_args()
    rows = read_rows(given.rows)
    by_name: dict[str, list[BenchRow]] = {}
    for row in rows:
        by_name.setdefault(row.configuration, []).append(row)
    tasks = list(dict.fromkeys(row.report.task for row in rows))
    baseline = by_name[given.baseline]
    lines = [
        [
            name,
            f"{_mean(mine, 'tau'):.2f}",
            f"{_mean(mine, 'coverage'):.3f}",
            f"{_mean(mine, 'active_mean'):,.0f}",
            f"{1000 * _sum(mine, 'draft_head_s') / _sum(mine, 'target_passes'):.1f}",
            f"{_speed(mine):.1f}",
            _ratio(mine, baseline),
            *(_ratio(_of(mine, task), _of(baseline, task), plain=True) for task in tasks),
        ]
        for name, mine in by_name.items()
    ]
    if "full" in by_name:
        full = by_name["full"]
        seconds = _sum(full, "wall_s") - _sum(full, "draft_head_s")
        free = _sum(full, "new_tokens") / seconds
        empty = [""] * len(tasks)
        lines.append(["full, with a head that costs nothing", "", "", "", "0.0", f"{free:.1f}", "", *empty])
    titles = ("strategy", "tau", "coverage", "rows", "head, ms/pass", "tokens/s", f"/ {given.baseline}")
    for cells in ([*titles, *tasks], ["---"] * (len(titles) + len(tasks)), *lines):
        print(f"| {' | '.join(cells)} |")


def _of(rows: Sequence[BenchRow], task: str) -> list[BenchRow]:
    return [row for row in rows if row.report.task == task]


def _sum(rows: Sequence[BenchRow], name: str) -> float:
    return sum(float(getattr(row.report, name) or 0.0) for row in rows)


def _mean(rows: Sequence[BenchRow], name: str) -> float:
    return _sum(rows, name) / len(rows)


def _speed(rows: Sequence[BenchRow]) -> float:
    return _sum(rows, "new_tokens") / _sum(rows, "wall_s")


def _ratio(rows: Sequence[BenchRow], others: Sequence[BenchRow], *, plain: bool = False) -> str:
    """Return the geometric mean of the ratios of speed, prompt by prompt."""
    speeds = {row.prompt: row.report.tokens_per_s for row in others}
    found = geometric_mean([row.report.tokens_per_s / speeds[row.prompt] for row in rows])
    if plain or found.low is None or found.high is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main()
