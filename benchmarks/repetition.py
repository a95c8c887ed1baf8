"""How often a text goes on as it did the last time, by how many tokens before were equal.

specframe bench --strategies autoregressive --json rows.jsonl
python benchmarks/repetition.py rows.jsonl
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import torch

from specframe.bench.rows import read_rows
from specframe.bench.tasks import built_in_tasks
from specframe.models import load_pretrained
from specframe.prompts import encode_prompt
from specframe_plugins.drafters.lookup.context import TextIndex

# Least number of equal tokens of each line.
LENGTHS = (2, 3, 4, 8, 16)


def main() -> None:
    """Print how often each configuration's output stood where it had been before, and what came then."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, help="what `specframe bench --json` wrote, for built-in prompts")
    rows = read_rows(parser.parse_args().rows)

    prompts = {task.id: task.prompt for task in built_in_tasks()}
    (model,) = {row.model for row in rows}
    tokenizer = load_pretrained(model, torch.bfloat16).tokenizer
    trials: Counter[tuple[str, int]] = Counter()
    hits: Counter[tuple[str, int]] = Counter()
    positions: Counter[str] = Counter()
    for row in rows:
        text = TextIndex(encode_prompt(tokenizer, prompts[row.id]).tolist())
        positions[row.configuration] += len(row.token_ids)
        for token_id in row.token_ids:
            found = text.continuation(1)
            for length in LENGTHS:
                if found.equal >= length and (length == LENGTHS[-1] or found.equal < _next(length)):
                    trials[row.configuration, length] += 1
                    hits[row.configuration, length] += found.token_ids[0] == token_id
            text.extend([token_id])
    print(f"{model}: share of the output's positions, and how often the next token was the same again")
    for configuration, total in positions.items():
        cells = [
            f"{length}+: {trials[configuration, length] / total:5.1%} "
            f"{hits[configuration, length] / max(trials[configuration, length], 1):.2f}"
            for length in LENGTHS
        ]
        print(f"{configuration:40} {'   '.join(cells)}")


def _next(length: int) -> int:
    return LENGTHS[LENGTHS.index(length) + 1]


if __name__ == "__main__":
    main()
