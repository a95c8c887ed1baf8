"""How long a target pass takes through each forward, interleaved, and what memory and arithmetic allow.

For example ``python benchmarks/target_pass.py --model smollm2-135m --nodes 1 2 4 8 17 32``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from specframe.contracts.tree import DraftTree
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.ops.packed_linear import PackedLinear
from specframe.registry.placement import DTYPES


def chain(target: Target, nodes: int) -> DraftTree:
    """Return a chain of ``nodes`` nodes of arbitrary tokens."""
    index = torch.arange(nodes)
    return DraftTree(
        token_ids=(index * 37 + 11) % target.vocab_size,
        parents=index - 1,
        depths=index,
        log_probs=torch.zeros(nodes),
    )


def fastest(run: Callable[[], object], repeat: int = 9) -> float:
    """Return the shortest time of several runs, seconds."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def limits(target: Target) -> tuple[float, float]:
    """Return how long a pass takes at least, ms: for reading the weights, and for multiplying, per node.

    Measured here and now: a maximum over 256 MiB reads memory, a product with 512 rows multiplies.
    """
    weights = sum(p.numel() for p in target.decoder.layers.parameters()) + target.output_head.weight.numel()
    memory = torch.ones(64 << 20)
    per_byte = fastest(memory.max) / memory.nbytes
    rows, linear = torch.ones(512, 2048, dtype=target.dtype), torch.ones(2048, 2048, dtype=target.dtype)
    multiply = PackedLinear(linear)
    per_product = fastest(lambda: multiply(rows)) / (512 * 2048 * 2048)
    return 1e3 * weights * target.dtype.itemsize * per_byte, 1e3 * weights * per_product


def print_profile(target: Target, nodes: int, passes: int = 5) -> None:
    """Print the operations that take the most time of a pass, with calls per pass."""
    tree = chain(target, nodes)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(passes):
            target.tree_pass(tree)
    rows = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
    print(f"\n{target.forward_name}, {nodes} nodes: calls and milliseconds per pass")
    for row in rows[:12]:
        print(f"{row.key:45} {row.count / passes:6.0f} {row.self_cpu_time_total / passes / 1e3:8.2f}")


@torch.inference_mode()
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
    parser.add_argument(
        "--profile", type=int, metavar="NODES", help="also print where a pass spends its time"
    )
    arguments = parser.parse_args()

    loaded = load_pretrained(arguments.model, DTYPES[arguments.dtype])
    targets = {name: Target(loaded, name) for name in arguments.forwards}
    prompt = torch.arange(arguments.context) * 13 % loaded.model.config.get_text_config().vocab_size
    for target in targets.values():
        target.begin(arguments.context + max(arguments.nodes))
        target.prefill(prompt)
    print(
        f"{arguments.model}, {arguments.dtype}, {torch.get_num_threads()} threads, "
        f"{arguments.context} tokens of context; median / minimum of {arguments.repeat}, ms"
    )
    reading, multiplying = limits(next(iter(targets.values())))
    print("nodes  memory  arithmetic", *(f"{name:>16}" for name in targets))
    for nodes in arguments.nodes:
        times: dict[str, list[float]] = {name: [] for name in targets}
        for repetition in range(arguments.repeat + 2):
            for name, target in targets.items():
                tree = chain(target, nodes)
                begin = time.perf_counter()
                target.tree_pass(tree)
                if repetition >= 2:
                    times[name].append(1e3 * (time.perf_counter() - begin))
        columns = (f"{statistics.median(t):8.1f} /{min(t):6.1f}" for t in times.values())
        print(f"{nodes:5d} {reading:7.1f} {nodes * multiplying:11.1f}", *columns, flush=True)
    if arguments.profile:
        for target in targets.values():
            print_profile(target, arguments.profile)


if __name__ == "__main__":
    main()
