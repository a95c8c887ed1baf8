"""How long a target pass takes, through each forward, interleaved.

python benchmarks/target_pass.py --model smollm2-135m --nodes 1 2 4 8 17 32
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from specframe.assembly import DTYPES
from specframe.models import load_pretrained
from specframe.target import Target
from specframe.types import DraftTree


def chain(target: Target, nodes: int) -> DraftTree:
    """Return a chain of ``nodes`` nodes of arbitrary tokens."""
    index = torch.arange(nodes)
    return DraftTree(
        token_ids=(index * 37 + 11) % target.vocab_size,
        parents=index - 1,
        depths=index,
        log_probs=torch.zeros(nodes),
    )


def main() -> None:
    """Print one line per number of nodes: median and minimum of every forward, in milliseconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16", choices=list(DTYPES))
    parser.add_argument("--forwards", nargs="+", default=["transformers", "lean"])
    parser.add_argument("--nodes", nargs="+", type=int, default=[1, 2, 4, 6, 8, 12, 17, 32])
    parser.add_argument("--context", type=int, default=200, help="committed tokens")
    parser.add_argument("--repeat", type=int, default=15)
    arguments = parser.parse_args()

    loaded = load_pretrained(arguments.model, DTYPES[arguments.dtype])
    targets = {name: Target.from_loaded(loaded, name) for name in arguments.forwards}
    prompt = torch.arange(arguments.context) * 13 % loaded.model.config.get_text_config().vocab_size
    for target in targets.values():
        target.begin(arguments.context + max(arguments.nodes))
        target.prefill(prompt)
    print(
        f"{arguments.model}, {arguments.dtype}, {torch.get_num_threads()} threads, "
        f"{arguments.context} tokens of context; median / minimum of {arguments.repeat}, ms"
    )
    print("nodes", *(f"{name:>16}" for name in targets))
    for nodes in arguments.nodes:
        times: dict[str, list[float]] = {name: [] for name in targets}
        for repetition in range(arguments.repeat + 2):
            for name, target in targets.items():
                tree = chain(target, nodes)
                begin = time.perf_counter()
                target.tree_pass(tree)
                if repetition >= 2:
                    times[name].append(1e3 * (time.perf_counter() - begin))
        print(
            f"{nodes:5d}",
            *(f"{statistics.median(t):8.1f} /{min(t):6.1f}" for t in times.values()),
            flush=True,
        )


if __name__ == "__main__":
    main()
