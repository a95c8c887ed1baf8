"""How the active set grows over the target passes of a request."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from specframe.bench.rows import BenchRow


@attrs.frozen(slots=True)
class ActiveSizes:
    """K by target pass, over the prompts that got there; as far as at least half of them did.

    Attributes:
        median: of the prompts.
        lower: first quartile.
        upper: third quartile.
    """

    median: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]


def active_sizes(rows: Sequence[BenchRow]) -> ActiveSizes:
    """Return K over the steps of the rows whose steps are known."""
    requests = [row.steps.active_size for row in rows if row.steps is not None]
    half = (len(requests) + 1) // 2
    quartiles = []
    for step in range(max(map(len, requests), default=0)):
        sizes = [sizes[step] for sizes in requests if step < len(sizes)]
        if len(sizes) < half:
            break
        quartiles.append(np.quantile(sizes, [0.25, 0.5, 0.75]).tolist())
    lower, median, upper = zip(*quartiles, strict=True) if quartiles else ((), (), ())
    return ActiveSizes(median, lower, upper)
