"""Does a packed head gain from the order of weights that oneDNN multiplies by, and what does reordering cost?

Per number of rows: the three products of a draft step, with 1, 3 and 3 hidden states, through PyTorch's own
linear and through ``PackedLinear``, the caches emptied before; and one reordering. Then one product of a
number of rows that there was no product of before, and of one that there was. Medians in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from specframe.ops.packed_linear import PackedLinear

_ROWS = (720, 2048, 8192, 32768)
_EVICTED_BYTES = 96 << 20
_WIDTHS = 60


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    other_data = torch.empty(_EVICTED_BYTES, dtype=torch.uint8)
    hidden = [torch.randn(n, arguments.hidden).bfloat16() for n in (1, 3, 3)]
    print("rows    linear  packed  reordering")
    for rows in _ROWS:
        weight = torch.randn(rows, arguments.hidden).bfloat16()
        packed = PackedLinear(weight)
        times: dict[str, list[float]] = {"linear": [], "packed": [], "reordering": []}
        for _ in range(arguments.repeat):
            other_data.add_(1)
            times["linear"].append(_seconds(partial(_products, hidden, partial(_linear, weight))))
            other_data.add_(1)
            times["packed"].append(_seconds(partial(_products, hidden, packed)))
            times["reordering"].append(_seconds(partial(PackedLinear, weight)))
        linear, ordered, reordering = (1000 * statistics.median(taken) for taken in times.values())
        print(f"{rows:<7} {linear:<7.2f} {ordered:<7.2f} {reordering:.2f}")
    weight = torch.randn(_ROWS[0], arguments.hidden).bfloat16()
    print("states  new width  known width")
    for n, x in zip((1, 3), hidden[:2], strict=True):
        new: list[float] = []
        known: list[float] = []
        for rows in range(1, _WIDTHS + 1):
            for taken in (new, known):
                taken.append(_seconds(partial(_linear, weight[_ROWS[0] // 2 + rows :], x)))
        print(f"{n:<7} {1000 * statistics.median(new):<10.2f} {1000 * statistics.median(known):.2f}")


def _linear(weight: Tensor, x: Tensor) -> Tensor:
    return torch.nn.functional.linear(x, weight)


def _products(hidden: list[Tensor], product: Callable[[Tensor], Tensor]) -> None:
    for x in hidden:
        product(x)


def _seconds(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


if __name__ == "__main__":
    with torch.inference_mode():
        main()
