"""How long the largest logits of some rows take to find: PyTorch's way, and block by block; medians in µs."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from time import perf_counter

import torch

from specframe.ops.row_maxima import row_max, row_topk

_TOP = 3


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("rows  columns  max    by blocks  top 3  by blocks")
    for columns in (49_152, 262_144):
        for rows in (1, 3, 8):
            logits = torch.randn(rows, columns).bfloat16()
            searches: list[Callable[[], object]] = [
                partial(torch.max, logits, dim=-1),
                partial(row_max, logits),
                partial(torch.topk, logits, _TOP),
                partial(row_topk, logits, _TOP),
            ]
            taken = [_median(search, arguments.repeat) for search in searches]
            print(
                f"{rows:<5} {columns:<8} "
                + " ".join(f"{one:<{w}.0f}" for one, w in zip(taken, _WIDTHS, strict=True))
            )


_WIDTHS = (6, 10, 6, 10)


def _median(search: Callable[[], object], repeat: int) -> float:
    """Return the median time of a search, µs."""
    search()
    times = []
    for _ in range(repeat):
        begin = perf_counter()
        search()
        times.append(perf_counter() - begin)
    return 1e6 * statistics.median(times)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
