"""What rollouts cost between the steps of a training: the weights change, and the engine is built anew.

python benchmarks/changing_weights.py --model smollm2-135m --drafter suffix

Every round changes all weights a little, as an optimizer does, and then samples `--rows` completions of one
prompt, by transformers in one batch and by specframe row by row, in float32. A line has the seconds of a
rollout and of building the engine in it, both medians, and the new tokens per second.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

import specframe.transformers
from specframe import RunConfig, SamplingParams
from specframe.model.loading import load_pretrained

_PROMPT = "Explain in a few sentences why the sea is salty, and list three seas that are saltier than others."


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m", help="a demo model, hub id or directory")
    parser.add_argument("--drafter", default="suffix")
    parser.add_argument("--rows", type=int, default=4, help="completions of the prompt")
    parser.add_argument("--tokens", type=int, default=64, help="of each completion")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3, help="how often the weights change")
    arguments = parser.parse_args()

    loaded = load_pretrained(arguments.model, torch.float32)
    tokenizer: Any = loaded.tokenizer
    model: Any = loaded.model
    ids = tokenizer(_PROMPT, return_tensors="pt")["input_ids"]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    settings = {"do_sample": True, "temperature": arguments.temperature, "max_new_tokens": arguments.tokens}
    settings |= {"min_new_tokens": arguments.tokens, "num_return_sequences": arguments.rows}
    config = RunConfig(
        drafter=arguments.drafter,
        warm="shared",
        sampling=SamplingParams(temperature=1.0),
        generation_config="none",
    )

    def transformers() -> tuple[float, Any]:
        return 0.0, model.generate(**batch, **settings)

    def drafted() -> tuple[float, Any]:
        start = time.perf_counter()
        engine = specframe.transformers.engine_for(model, config, tokenizer)
        built = time.perf_counter() - start
        return built, model.generate(
            **batch, **settings, custom_generate=specframe.transformers.generate, specframe=engine
        )

    ways = {
        f"transformers, a batch of {arguments.rows}": transformers,
        f"specframe, {arguments.drafter}": drafted,
    }
    drafted()  # what this machine costs is measured once
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.0001)
        for name, way in ways.items():
            start = time.perf_counter()
            built, _ = way()
            found[name].append((time.perf_counter() - start, built))
    for name, rounds in found.items():
        seconds, built = (statistics.median(column) for column in zip(*rounds, strict=True))
        speed = arguments.rows * arguments.tokens / seconds
        print(
            f"{arguments.model}  {name:28} {seconds:6.2f} s a rollout, {built:5.2f} s of them to build  "
            f"{speed:6.1f} tokens/s"
        )


if __name__ == "__main__":
    main()
