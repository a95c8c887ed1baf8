"""Score the texts of a comparison again by teacher forcing: are they what the target would have said?

python benchmarks/rescore.py rows.jsonl --tasks TASKS.jsonl
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from specframe.assembly import DTYPES
from specframe.models import load_pretrained
from specframe.prompts import encode_prompt
from specframe.rescoring import margins
from specframe.tables import print_table
from specframe.target import Target


def main(
    rows: Annotated[Path, typer.Argument(help="What compare_strategies.py wrote.")],
    tasks: Annotated[Path, typer.Option(help="The task file it read.")],
) -> None:
    """Print, per strategy, how many tokens are not the maximum of their own re-scoring, and by how much."""
    prompts = {task["id"]: task["turns"][0] for task in map(json.loads, tasks.read_text().splitlines())}
    reports = [json.loads(line) for line in rows.read_text().splitlines()]
    target = Target.from_loaded(load_pretrained(reports[0]["model"], DTYPES[reports[0]["dtype"]]))
    found = defaultdict(list)
    for report in reports:
        prompt_ids = encode_prompt(target.tokenizer, prompts[report["id"]])
        found[report["strategy"]].append(margins(target, prompt_ids, torch.tensor(report["token_ids"])))
    table = [
        (name, f"{len(of):,}", f"{int((of > 0).sum())}", f"{of.max():.3f}")
        for name, of in ((name, torch.cat(parts)) for name, parts in found.items())
    ]
    print_table(table, ("strategy", "tokens", "not the maximum", "largest margin"))


if __name__ == "__main__":
    typer.run(main)
