"""The comparison of drafters in docs/drafters.md, from a run of `specframe bench` over built-in prompts.

python benchmarks/drafter_figures.py rows.jsonl --baseline autoregressive

Texts that repeat themselves are told from others: those of which at least a quarter of the tokens follow
four tokens that stood before in prompt or output, with the same token after them. The text is that of the
baseline.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from specframe.bench.report.bootstrap import geometric_mean
from specframe.bench.rows import BenchRow, read_rows
from specframe.model.loading import load_tokenizer
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import built_in_tasks

# Equal tokens before a repeated one, and the share of these that makes a text one that repeats itself.
EQUAL, REPEATING = 4, 0.25


def repeated(prompt_ids: Sequence[int], token_ids: Sequence[int]) -> float:
    """Return the share of output tokens that came before after the same ``EQUAL`` tokens."""
    text, seen, found = [*prompt_ids, *token_ids], set[tuple[int, ...]](), 0
    for at in range(EQUAL, len(text)):
        gram = tuple(text[at - EQUAL : at + 1])
        found += at >= len(prompt_ids) and gram in seen
        seen.add(gram)
    return found / max(len(token_ids), 1)


def main() -> None:
    """Print the share of each text that repeats itself, and a line for each configuration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, help="what `specframe bench --json` wrote")
    parser.add_argument("--baseline", default="autoregressive")
    given = parser.parse_args()
    rows = read_rows(given.rows)
    by_name: dict[str, dict[object, BenchRow]] = {}
    for row in rows:
        by_name.setdefault(row.configuration, {})[row.prompt] = row
    baseline = by_name[given.baseline]
    prompts = {task.id: task.prompt for task in built_in_tasks()}
    tokenizer = load_tokenizer(rows[0].report.model)
    shares = {
        key: repeated(encode_prompt(tokenizer, prompts[row.report.id]).tolist(), row.report.token_ids)
        for key, row in baseline.items()
    }
    print("Repeated:", ", ".join(f"{baseline[key].report.id} {share:.0%}" for key, share in shares.items()))
    groups = {
        "all": list(shares),
        "repeating": [key for key, share in shares.items() if share >= REPEATING],
        "others": [key for key, share in shares.items() if share < REPEATING],
    }
    titles = ["drafter"] + [
        f"{what}, {name} ({len(keys)})" for name, keys in groups.items() for what in ("tau", "speed")
    ]
    tasks = list(dict.fromkeys(row.report.task for row in rows))
    lines = []
    for name, mine in by_name.items():
        cells = [name]
        for keys in groups.values():
            cells += [_tau([mine[key] for key in keys]), _ratio(mine, baseline, keys)]
        for task in tasks:
            keys = [key for key, row in baseline.items() if row.report.task == task]
            cells.append(_ratio(mine, baseline, keys, plain=True))
        lines.append(cells)
    for line in ([*titles, *tasks], ["---"] * (len(titles) + len(tasks)), *lines):
        print(f"| {' | '.join(line)} |")


def _tau(rows: Sequence[BenchRow]) -> str:
    return f"{sum(row.report.tau for row in rows) / len(rows):.2f}" if rows else "-"


def _ratio(
    rows: dict[object, BenchRow],
    others: dict[object, BenchRow],
    keys: Sequence[object],
    *,
    plain: bool = False,
) -> str:
    """Return the geometric mean of the ratios of speed, prompt by prompt."""
    if not keys:
        return "-"
    found = geometric_mean([rows[key].report.tokens_per_s / others[key].report.tokens_per_s for key in keys])
    if plain or found.low is None or found.high is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main()
