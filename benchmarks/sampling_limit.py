"""The most that a drafter of any kind can be accepted where the target samples: the mass of its top tokens.

specframe bench --strategies autoregressive --temperature 0.7 --json rows.jsonl
python benchmarks/sampling_limit.py rows.jsonl
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import torch

from specframe.bench.rows import read_rows
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import built_in_tasks

# Children of a node.
WIDTHS = (1, 2, 3, 4, 8)


@torch.inference_mode()
def main() -> None:
    """Print, for every sampled configuration, the mean probability of the target's own top tokens."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, help="what `specframe bench --json` wrote, for built-in prompts")
    rows = [row for row in read_rows(parser.parse_args().rows) if row.report.temperature]

    prompts = {task.id: task.prompt for task in built_in_tasks()}
    (model,) = {row.report.model for row in rows}
    target = Target(load_pretrained(model, torch.bfloat16))
    masses: defaultdict[str, list[torch.Tensor]] = defaultdict(list)
    for row in rows:
        prompt = encode_prompt(target.tokenizer, prompts[row.report.id])
        text = torch.cat([prompt, torch.tensor(row.report.token_ids)])
        target.begin(len(text))
        hidden = target.prefill(text).features[len(prompt) - 1 : -1]
        for part in hidden.split(64):
            logits = target.output_head.logits(part).float() / row.report.temperature
            top = torch.softmax(logits, dim=-1).topk(max(WIDTHS)).values
            masses[row.configuration].append(top.cumsum(dim=-1)[:, [width - 1 for width in WIDTHS]])
    print(f"{model}: mean probability of the target's top tokens after every token that it emitted")
    for configuration, parts in masses.items():
        means = torch.cat(parts).mean(dim=0).tolist()
        cells = [f"{width}: {mean:.3f}" for width, mean in zip(WIDTHS, means, strict=True)]
        print(f"{configuration:40} {'   '.join(cells)}")


if __name__ == "__main__":
    main()
