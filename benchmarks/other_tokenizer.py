"""How often a draft model with another tokenizer is right, by how it reads what the target wrote.

specframe bench --model MODEL --strategies autoregressive --dtype float32 --json rows.jsonl
python benchmarks/other_tokenizer.py rows.jsonl --draft-model OTHER

Read token by token, as drafts are made; and tokenised anew as a whole after every token, with the cache kept
as far as the tokens stay the same. Counted is how often the token came next that it takes for the likeliest
of those that both have.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from specframe.bench.rows import read_rows
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import built_in_tasks
from specframe_plugins.drafters.draft_model.backbone import ModelBackbone
from specframe_plugins.drafters.draft_model.loading import DraftModel, load
from specframe_plugins.drafters.draft_model.text_writer import TextWriter
from specframe_plugins.drafters.draft_model.token_bytes import TokenBytes
from specframe_plugins.drafters.draft_model.translated import TranslatedBackbone


def main() -> None:
    """Print the share of both ways to read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, help="what `specframe bench --json` wrote, for built-in prompts")
    parser.add_argument("--draft-model", required=True, help="demo model, hub id, directory or .gguf file")
    arguments = parser.parse_args()
    rows = read_rows(arguments.rows)

    prompts = {task.id: task.prompt for task in built_in_tasks()}
    (name,) = {row.report.model for row in rows}
    target = Target(load_pretrained(name, torch.float32))
    draft_model = load(arguments.draft_model, None, target, "intersection")
    right = {"token by token": 0, "as a whole": 0}
    total = 0
    with torch.inference_mode():
        for row in rows:
            prompt_ids = encode_prompt(target.tokenizer, prompts[row.report.id]).tolist()
            emitted = row.report.token_ids
            total += len(emitted)
            right["token by token"] += sum(
                map(int.__eq__, _by_tokens(draft_model, prompt_ids, emitted), emitted)
            )
            as_a_whole = _as_a_whole(draft_model, target, prompt_ids, emitted)
            right["as a whole"] += sum(map(int.__eq__, as_a_whole, emitted))
    print(f"{arguments.draft_model} for {name}: {total} positions")
    for way, count in right.items():
        print(f"{way}: {count / total:.3f}")


def _first(draft_model: DraftModel, hidden: Tensor) -> list[int]:
    """Return the target's tokens that the draft model takes for the likeliest after hidden states [n, H]."""
    head = draft_model.model.output_head
    tokens: list[int] = head.row_map.tokens(head.best(hidden)).tolist()
    return tokens


def _by_tokens(draft_model: DraftModel, prompt_ids: list[int], emitted: list[int]) -> list[int]:
    assert draft_model.translation is not None
    backbone = TranslatedBackbone(draft_model.model, draft_model.translation, beams=1, levels=0)
    backbone.keep(0)
    own_ids, ends = backbone.translated([*prompt_ids, *emitted])
    hidden = backbone.commit(torch.tensor(own_ids))
    return _first(draft_model, hidden[torch.tensor(ends[len(prompt_ids) - 1 : -1]) - 1])


def _as_a_whole(
    draft_model: DraftModel, target: Target, prompt_ids: list[int], emitted: list[int]
) -> Iterator[int]:
    assert draft_model.translation is not None
    theirs = TokenBytes.read(target.tokenizer)
    tokenizer = draft_model.model.tokenizer
    writer = TextWriter(tokenizer, TokenBytes.read(tokenizer))
    before = TextWriter(target.tokenizer, theirs).prefix
    text_ids = prompt_ids[len(before) :] if tuple(prompt_ids[: len(before)]) == before else prompt_ids
    backbone = ModelBackbone(draft_model.model, beams=1, levels=0)
    backbone.keep(0)
    read: list[int] = []
    for length in range(len(emitted)):
        own_ids = [*writer.prefix, *writer.write(theirs.join([*text_ids, *emitted[:length]]), begins=True)]
        same = next((at for at, (a, b) in enumerate(zip(own_ids, read, strict=False)) if a != b), len(read))
        same = min(same, len(own_ids) - 1)
        backbone.keep(same)
        hidden = backbone.commit(torch.tensor(own_ids[same:]))
        read = own_ids
        yield from _first(draft_model, hidden[-1:])


if __name__ == "__main__":
    main()
