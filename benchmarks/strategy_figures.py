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
    """Print a line for each configuration, with what it would be if head and bookkeeping took no time."""
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
            f"{1000 * _sum(mine, 'vocabulary_s') / _sum(mine, 'target_passes'):.1f}",
            f"{_speed(mine):.1f}",
            f"{_speed(mine, without=('draft_head_s', 'vocabulary_s')):.1f}",
            _ratio(mine, baseline),
            *(_ratio(_of(mine, task), _of(baseline, task), plain=True) for task in tasks),
        ]
        for name, mine in by_name.items()
    ]
    titles = (
        "strategy",
        "tau",
        "coverage",
        "rows",
        "head, ms/pass",
        "strategy, ms/pass",
        "tokens/s",
        "if both took no time",
        f"/ {given.baseline}",
    )
    for cells in ([*titles, *tasks], ["---"] * (len(titles) + len(tasks)), *lines):
        print(f"| {' | '.join(cells)} |")


def _of(rows: Sequence[BenchRow], task: str) -> list[BenchRow]:
    return [row for row in rows if row.report.task == task]


def _sum(rows: Sequence[BenchRow], name: str) -> float:
    return sum(float(getattr(row.report, name) or 0.0) for row in rows)


def _mean(rows: Sequence[BenchRow], name: str) -> float:
    return _sum(rows, name) / len(rows)


def _speed(rows: Sequence[BenchRow], without: Sequence[str] = ()) -> float:
    seconds = _sum(rows, "wall_s") - sum(_sum(rows, part) for part in without)
    return _sum(rows, "new_tokens") / seconds


def _ratio(rows: Sequence[BenchRow], others: Sequence[BenchRow], *, plain: bool = False) -> str:
    """Return the geometric mean of the ratios of speed, prompt by prompt."""
    speeds = {row.prompt: row.report.tokens_per_s for row in others}
    found = geometric_mean([row.report.tokens_per_s / speeds[row.prompt] for row in rows])
    if plain or found.low is None or found.high is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main()
