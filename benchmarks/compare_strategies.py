"""Compare vocabulary strategies on task prompts in one interleaved run.

Every prompt is answered by all strategies in turn, in an order that rotates from prompt to prompt, so that a
noisy machine slows all of them alike. Ratios are of total tokens to total wall time.

    python benchmarks/compare_strategies.py --tasks TASKS.jsonl --per-task 3 --out rows.jsonl

A strategy may carry options of its own: ``static:vocabulary.size=8192`` or
``nanospec:drafter.nodes=16,drafter.depth=5``.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import attrs
import torch
import typer
from rich.progress import Progress

from specframe.assembly import DTYPES, build_engine
from specframe.config import AUTOREGRESSIVE, RunConfig, merge_options, parse_options
from specframe.engine import Engine
from specframe.models import load_pretrained
from specframe.prompts import encode_prompt
from specframe.tables import print_table
from specframe.target import Target
from specframe.types import GenerationReport


def read_tasks(path: Path, per_task: int, skip: int) -> list[dict[str, str]]:
    """Return ``per_task`` prompts of every task, after the first ``skip`` of each."""
    by_task: dict[str, list[dict[str, str]]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by_task[row["task"]].append({"id": row["id"], "task": row["task"], "prompt": row["turns"][0]})
    chosen = [rows[skip : skip + per_task] for rows in by_task.values()]
    return [row for rows in itertools.zip_longest(*chosen) for row in rows if row]


def main(
    tasks: Annotated[Path, typer.Option(help="JSON lines with id, task and turns.")],
    out: Annotated[Path, typer.Option(help="Where the rows go, one JSON object per line.")],
    per_task: Annotated[int, typer.Option(help="Prompts per task.")] = 3,
    skip: Annotated[int, typer.Option(help="Prompts to leave out at the start of each task.")] = 0,
    strategies: Annotated[
        list[str] | None,
        typer.Option("-s", "--strategy", help="NAME or NAME:KIND.OPTION=VALUE,...; repeatable."),
    ] = None,
    model: str = "smollm2-135m",
    max_new_tokens: int = 128,
    dtype: str = "bfloat16",
    threads: int = 2,
    option: Annotated[
        list[str] | None, typer.Option("-o", help="KIND.NAME=VALUE for all strategies.")
    ] = None,
) -> None:
    """Run the comparison and print the table."""
    torch.set_num_threads(threads)
    target = Target.from_loaded(load_pretrained(model, DTYPES[dtype]))
    shared = parse_options(option or [])
    engines: dict[str, Engine] = {}
    for label in strategies or (AUTOREGRESSIVE, "full", "static", "nanospec"):
        name, _, own = label.partition(":")
        options = merge_options(shared, parse_options(own.split(",") if own else []))
        config = RunConfig(
            model=model, strategy=name, dtype=dtype, max_new_tokens=max_new_tokens, options=options
        )
        engines[label] = build_engine(config, target=target)
    rows = read_tasks(tasks, per_task, skip)
    reports: dict[str, list[GenerationReport]] = {name: [] for name in engines}
    warm_up = encode_prompt(target.tokenizer, "Say hello.", None)
    for engine in engines.values():
        engine.generate(warm_up, 16)
    with out.open("w", encoding="utf-8") as file, Progress() as progress:
        bar = progress.add_task("prompts", total=len(rows) * len(engines))
        for index, row in enumerate(rows):
            names = list(engines)
            rotation = index % len(names)
            prompt_ids = encode_prompt(target.tokenizer, row["prompt"], None)
            for name in names[rotation:] + names[:rotation]:
                report = engines[name].generate(prompt_ids, id=row["id"], task=row["task"])
                reports[name].append(report)
                file.write(json.dumps({**attrs.asdict(report), "strategy": name}) + "\n")
                file.flush()
                progress.advance(bar)
    print_table(summary(reports), COLUMNS)


COLUMNS = (
    "strategy",
    "tau",
    "tokens/s",
    "/ autoregressive",
    "/ full",
    "active",
    "coverage",
    "OOV",
    "misses",
    "head ms",
    "draft ms",
    "target ms",
    "same ids",
)


def summary(reports: dict[str, list[GenerationReport]]) -> list[tuple[str, ...]]:
    """Return one row per strategy: times per target pass, and how many texts equal the first strategy's."""
    rows = []
    speed = {name: _speed(of) for name, of in reports.items()}
    first = next(iter(reports.values()))
    for name, of in reports.items():
        passes = sum(r.target_passes for r in of)
        from_passes = sum(r.new_tokens - 1 for r in of)

        def per_pass(field: str, of: list[GenerationReport] = of, passes: int = passes) -> str:
            return f"{1e3 * sum(getattr(r, field) for r in of) / passes:.2f}"

        rows.append(
            (
                name,
                f"{from_passes / passes:.3f}",
                f"{speed[name]:.1f}",
                f"{speed[name] / speed[AUTOREGRESSIVE]:.3f}" if AUTOREGRESSIVE in speed else "",
                f"{speed[name] / speed['full']:.3f}" if "full" in speed else "",
                f"{statistics.mean(r.active_mean for r in of):.0f}",
                f"{sum(r.coverage * (r.new_tokens - 1) for r in of) / from_passes:.3f}",
                str(sum(r.oov_rejections for r in of)),
                str(sum(r.drafter_misses for r in of)),
                per_pass("draft_head_s"),
                per_pass("draft_s"),
                per_pass("verify_s"),
                f"{sum(a.token_ids == b.token_ids for a, b in zip(of, first, strict=True))}/{len(of)}",
            )
        )
    return rows


def _speed(reports: list[GenerationReport]) -> float:
    return sum(r.new_tokens for r in reports) / sum(r.wall_s for r in reports)


if __name__ == "__main__":
    typer.run(main)
