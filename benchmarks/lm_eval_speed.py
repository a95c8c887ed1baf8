"""How fast lm-eval's generation tasks are with the model `specframe`, beside lm-eval's own `hf`.

python benchmarks/lm_eval_speed.py --model smollm2-135m

Both generate for the same loaded model in float32, prompt by prompt in turns, from `away_tasks.jsonl`;
`hf` once more with all prompts in one batch. A row has new tokens per second, the median of the rounds, and
how many of the texts are those of `hf`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from specframe_plugins.lm_eval.model import SpecframeLM

_TASKS = Path(__file__).with_name("away_tasks.jsonl")


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m", help="a demo model, hub id or directory")
    parser.add_argument("--prompts", type=int, default=8, help="how many, spread over the tasks")
    parser.add_argument("--tokens", type=int, default=64, help="max_gen_toks")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is generated")
    arguments = parser.parse_args()

    lines = _TASKS.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["turns"][0] for line in lines[:: len(lines) // arguments.prompts]]
    specframe = SpecframeLM(arguments.model, dtype="float32", batch_size=1)
    shared, tokenizer = specframe.model, specframe.tokenizer
    hf = HFLM(shared, tokenizer=tokenizer, batch_size=1)
    batch = HFLM(shared, tokenizer=tokenizer, batch_size=len(questions))
    prompts = [_prompt(specframe, question) for question in questions]
    asked = {"max_gen_toks": arguments.tokens, "do_sample": False, "until": []}

    def generate(lm: HFLM, several: Sequence[str]) -> tuple[list[str], float]:
        requests = [Instance("generate_until", {}, (prompt, dict(asked)), 0) for prompt in several]
        start = time.perf_counter()
        texts: list[str] = lm.generate_until(requests, disable_tqdm=True)
        return texts, time.perf_counter() - start

    for lm in (specframe, hf):
        generate(lm, prompts[:1])  # what a first request has to set up
    speeds, found = defaultdict[str, list[float]](list), dict[str, list[str]]()
    for _ in range(arguments.rounds):
        texts, seconds = defaultdict[str, list[str]](list), defaultdict[str, float](float)
        for number, prompt in enumerate(prompts):
            ways = [("specframe", specframe), ("hf", hf)]
            for name, lm in ways if number % 2 else reversed(ways):
                text, took = generate(lm, [prompt])
                texts[name] += text
                seconds[name] += took
        name = f"hf, one batch of {len(prompts)}"
        texts[name], seconds[name] = generate(batch, prompts)
        for name, took in seconds.items():
            # What ends a text is in no text: counted alike for all.
            count = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts[name])
            speeds[name].append(count / took)
        found = texts
    for name in ("hf", "specframe", f"hf, one batch of {len(prompts)}"):
        same = sum(one == other for one, other in zip(found[name], found["hf"], strict=True))
        print(
            f"{arguments.model}  {name:22} {statistics.median(speeds[name]):6.1f} tokens/s  "
            f"{statistics.median(speeds[name]) / statistics.median(speeds['hf']):5.2f} x  "
            f"{same} of {len(prompts)} texts are those of hf"
        )


def _prompt(lm: HFLM, question: str) -> str:
    if lm.tokenizer.chat_template is None:
        return question
    return str(lm.apply_chat_template([{"role": "user", "content": question}]))


if __name__ == "__main__":
    main()
