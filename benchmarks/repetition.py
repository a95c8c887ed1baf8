"""How often a text goes on as it did the last time, and how often heads are right there, by equal tokens.

specframe bench --strategies autoregressive --json rows.jsonl
python benchmarks/repetition.py rows.jsonl --head HEAD --head OTHER

The first line of a configuration has the share of the output's positions, and how often the next token was
the one that came the last time. One line for each EAGLE head follows: how often its first choice was right.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch

from specframe.bench.rows import BenchRow, read_rows
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import built_in_tasks
from specframe_plugins.drafters.eagle.checkpoint import load_head
from specframe_plugins.drafters.eagle.diagnosis import predictor
from specframe_plugins.drafters.lookup.context import TextIndex
from specframe_plugins.drafters.probe import Predict

# Least number of equal tokens of each column.
LENGTHS = (0, 2, 3, 4, 8, 16)


def main() -> None:
    """Print one line for the text, and one for each head, of each configuration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, help="what `specframe bench --json` wrote, for built-in prompts")
    parser.add_argument("--head", type=Path, action="append", default=[], help="an EAGLE-2 checkpoint")
    arguments = parser.parse_args()
    rows = read_rows(arguments.rows)

    prompts = {task.id: task.prompt for task in built_in_tasks()}
    (model,) = {row.report.model for row in rows}
    target = Target(load_pretrained(model, torch.bfloat16))
    embed_tokens, output_head = target.decoder.embed_tokens, target.output_head
    predictors = {
        str(path): predictor(load_head(path, target), embed_tokens, output_head) for path in arguments.head
    }
    trials: Counter[tuple[str, int]] = Counter()
    hits: dict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for row in rows:
        prompt_ids = encode_prompt(target.tokenizer, prompts[row.report.id]).tolist()
        columns = list(_columns(prompt_ids, row, hits["the same again"]))
        trials.update((row.configuration, column) for column in columns)
        for name, predict in predictors.items():
            right = _right(predict, target, prompt_ids, row)
            hits[name].update((row.configuration, columns[n]) for n, hit in enumerate(right) if hit)
    for configuration in dict.fromkeys(row.configuration for row in rows):
        total = sum(trials[configuration, length] for length in LENGTHS)
        shares = [f"{length}+: {trials[configuration, length] / total:5.1%}" for length in LENGTHS]
        print(f"{model}, {configuration}: {total:,} positions".ljust(48), "  ".join(shares))
        for name, found in hits.items():
            counts = [(found[configuration, length], trials[configuration, length]) for length in LENGTHS]
            print(name[-48:].ljust(48), "  ".join(f"{hit / max(n, 1):10.2f}" for hit, n in counts))


def _columns(prompt_ids: list[int], row: BenchRow, hits: Counter[tuple[str, int]]) -> Iterator[int]:
    """Yield the column of each output position, and count where the text went on as the last time."""
    text = TextIndex(prompt_ids)
    for token_id in row.report.token_ids:
        found = text.continuation(1)
        column = max(length for length in LENGTHS if found.equal >= length)
        hits[row.configuration, column] += bool(column) and found.token_ids[0] == token_id
        yield column
        text.extend([token_id])


@torch.inference_mode()
def _right(predict: Predict, target: Target, prompt_ids: list[int], row: BenchRow) -> list[bool]:
    """Return whether a head's first choice for each output position is the token that came."""
    ids = torch.tensor([*prompt_ids, *row.report.token_ids])
    target.begin(len(ids))
    features = target.prefill(ids, harvest_topk=1, harvest_window=1).features
    first_choices = predict(ids[:-1], features[:-2])
    return (first_choices == ids[2:])[len(prompt_ids) - 2 :].tolist()


if __name__ == "__main__":
    main()
