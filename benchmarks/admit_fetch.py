"""How long admission and the fetch of rows take after a target pass, for vocabularies from 32k to 1M tokens.

    python benchmarks/admit_fetch.py --step-ms 60

Every step admits what ``nanospec`` admits after a tree of ``--nodes`` nodes: their tokens, the target's top 3
after each, and the output. Tokens are drawn with Zipf's frequencies, so that most of them are active already,
as in text. The last column is the share of a step that takes ``--step-ms``, for example ``wall_s`` divided by
``target_passes`` of a report.
"""

from __future__ import annotations

import argparse
import statistics
from time import perf_counter

import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.registry.placement import DTYPES
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather

VOCABULARIES = (32_768, 65_536, 131_072, 262_144, 524_288, 1_048_576)


def zipf_ids(count: int, vocab_size: int, generator: torch.Generator) -> Tensor:
    """Return ids [count] drawn with probability 1 / (rank + 10), ranks shuffled over the vocabulary."""
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    ranks = (10 * ((vocab_size + 10) / 10) ** uniform - 10).long().clamp(0, vocab_size - 1)
    return (ranks * 7919) % vocab_size


def measure(vocab_size: int, hidden_size: int, dtype: torch.dtype, nodes: int, steps: int) -> list[float]:
    """Return the seconds of each admission of a request, the fetch of its rows included."""
    generator = torch.Generator().manual_seed(0)
    head = OutputHead(torch.ones(vocab_size, hidden_size, dtype=dtype))
    store = VocabularyStore(head, TorchGather(), capacity=3072, pinned_ids=torch.arange(8), eviction="fifo")
    store.admit(zipf_ids(400, vocab_size, generator))
    candidates = [zipf_ids(4 * nodes + 2, vocab_size, generator) for _ in range(steps)]
    seconds = []
    for ids in candidates:
        begin = perf_counter()
        store.admit(ids)
        seconds.append(perf_counter() - begin)
    return seconds


def main() -> None:
    """Measure every vocabulary in turn, several times over, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hidden-size", type=int, default=640, help="H; Gemma 3 270M has 640")
    parser.add_argument("--nodes", type=int, default=8, help="nodes of the draft tree")
    parser.add_argument("--steps", type=int, default=200, help="admissions per vocabulary and repetition")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--step-ms", type=float, required=True, help="milliseconds of one step")
    arguments = parser.parse_args()
    seconds: dict[int, list[float]] = {vocab_size: [] for vocab_size in VOCABULARIES}
    for _ in range(arguments.repetitions):
        for vocab_size, measured in seconds.items():
            measured += measure(
                vocab_size, arguments.hidden_size, DTYPES[arguments.dtype], arguments.nodes, arguments.steps
            )
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, H = {arguments.hidden_size}")
    print("vocabulary   admit + fetch, median   90th percentile   share of a step")
    for vocab_size, measured in seconds.items():
        median, late = statistics.median(measured), statistics.quantiles(measured, n=10)[-1]
        share = median * 1000 / arguments.step_ms
        print(f"{vocab_size:>10,} {median * 1e6:>20.0f} us {late * 1e6:>14.0f} us {share:>17.2%}")


if __name__ == "__main__":
    main()
