"""What the drafter `swift` predicts of a target's own greedy text, before and after its search.

python benchmarks/skipped_layers.py --model smollm2-135m --trials 150

The built-in prompts of seven tasks are answered autoregressively, one each. The search then goes through the
answers, 32 tokens a trial, as it does in use, over the whole vocabulary. What counts is how often the first
choice is the target's token, all tokens before being the target's, and the share of weights that is run.
"""

from __future__ import annotations

import argparse
from itertools import cycle

import attrs
import torch
from torch import Tensor

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.model.forward import LeftOut, append, causal_mask
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import built_in_tasks
from specframe_plugins.drafters.swift.drafter import partial_forward
from specframe_plugins.drafters.swift.parts import LayerParts

WINDOW, BRANCHING = 32, 4


@attrs.frozen
class Passage:
    """Tokens of an answer [n], and the tokens of prompt and answer before them [T]."""

    before: Tensor
    tokens: Tensor

    def log_probs(self, target: Target, left_out: LeftOut) -> Tensor:
        """Return what the target without some parts of its layers says at every token [n, V]."""
        n = len(self.tokens)
        forward = partial_forward(target)
        forward.begin(len(self.before) + n)
        append(forward, self.before[:-1])
        ids = torch.cat((self.before[-1:], self.tokens[:-1]))
        positions = forward.committed + torch.arange(n)
        hidden = forward.run_partly(ids, positions, causal_mask(n, ids.device), left_out)
        return target.output_head.logits(hidden).float().log_softmax(-1)

    def found(self, target: Target, left_out: LeftOut) -> int:
        """Return how many first choices are the target's tokens."""
        return int((self.log_probs(target, left_out).argmax(-1) == self.tokens).sum())

    def value(self, target: Target, left_out: LeftOut) -> float:
        """Return what a trial says: the mean probability of the tokens, of the likeliest ones alone."""
        best = self.log_probs(target, left_out).topk(BRANCHING)
        return float((best.values.exp() * (best.indices == self.tokens[:, None])).sum() / len(self.tokens))


def passages(model: str, new_tokens: int) -> tuple[Target, list[Passage]]:
    """Return a target, and its answers to the first prompt of every task in passages of 32 tokens."""
    config = RunConfig(model=model, strategy="autoregressive", max_new_tokens=new_tokens)
    engine = build_engine(config)
    first = {task.task: task for task in reversed(built_in_tasks())}
    found = []
    for task in reversed(first.values()):
        answer = torch.tensor(engine.generate(task.prompt).token_ids)
        text = torch.cat((encode_prompt(engine.target.tokenizer, task.prompt), answer))
        parts = answer.split(WINDOW)
        ends = torch.tensor([len(part) for part in parts]).cumsum(0) + len(text) - len(answer)
        found += [Passage(text[: end - len(part)], part) for part, end in zip(parts, ends, strict=True)]
    return engine.target, [passage for passage in found if len(passage.tokens) == WINDOW]


@torch.inference_mode()
def main() -> None:
    """Print a line for each share of the weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--new-tokens", type=int, default=96)
    parser.add_argument("--skip", type=float, nargs="+", default=[0.1, 0.2, 0.3, 0.45])
    given = parser.parse_args()
    target, texts = passages(given.model, given.new_tokens)
    tokens = sum(len(one.tokens) for one in texts)
    print(f"{given.model}: {tokens} tokens, {given.trials} trials")
    for skip in given.skip:
        parts = LayerParts(target.config)
        search = parts.search(skip)
        before = sum(one.found(target, parts.left_out(search.best())) for one in texts) / tokens
        for _, text in zip(range(given.trials), cycle(texts), strict=False):
            tried = search.candidate()
            search.learn(tried, text.value(target, parts.left_out(tried)), WINDOW)
        best = search.best()
        after = sum(one.found(target, parts.left_out(best)) for one in texts) / tokens
        print(f"skip={skip}: {parts.share(best):.0%} left out; found {before:.0%} before, {after:.0%} after")
        print("  ", parts.left_out(best))


if __name__ == "__main__":
    main()
