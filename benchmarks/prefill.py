"""How long the target reads a prompt, with and without the harvest of a vocabulary strategy, interleaved.

python benchmarks/prefill.py --model smollm2-135m --tokens 1000
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.registry.placement import DTYPES

# Top ids per position, and for how many of the last positions: none, and what `nanospec` asks for
# without measured costs.
HARVESTS = {"none": (0, 0), "nanospec": (3, 32)}


def main() -> None:
    """Print median and minimum per forward and harvest, in milliseconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16", choices=list(DTYPES))
    parser.add_argument("--forwards", nargs="+", default=["transformers", "lean"])
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=512, help="prompt tokens per pass")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()

    loaded = load_pretrained(arguments.model, DTYPES[arguments.dtype])
    targets = {name: Target(loaded, name) for name in arguments.forwards}
    prompt = torch.arange(arguments.tokens) * 13 % loaded.model.config.get_text_config().vocab_size
    times: dict[tuple[str, str], list[float]] = {}
    for repetition in range(arguments.repeat + 1):
        for forward, target in targets.items():
            for harvest, (topk, window) in HARVESTS.items():
                target.begin(arguments.tokens)
                begin = time.perf_counter()
                target.prefill(prompt, chunk=arguments.chunk, harvest_topk=topk, harvest_window=window)
                if repetition:
                    elapsed = 1e3 * (time.perf_counter() - begin)
                    times.setdefault((forward, harvest), []).append(elapsed)
    print(
        f"{arguments.model}, {arguments.dtype}, {torch.get_num_threads()} threads, {arguments.tokens} tokens"
    )
    for (forward, harvest), elapsed_ms in times.items():
        median, minimum = statistics.median(elapsed_ms), min(elapsed_ms)
        print(f"{forward:14} harvest {harvest:9} {median:8.0f} /{minimum:6.0f} ms")


if __name__ == "__main__":
    main()
