"""What a configuration keeps in memory because of its active set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from specframe.bench.rows import BenchRow


@attrs.frozen(slots=True)
class Memory:
    """Bytes of a configuration; None stands for what a peer does not tell.

    Attributes:
        packed: the packed head.
        store: the active set's tensors and the bookkeeping of admission.
        full_head: the full LM head with the copy that the CPU multiplies by, which the target needs anyway.
        peak_rss: largest resident set of the process up to the configuration's last row; a process that runs
            several configurations has one peak, so it is no property of a single one.
    """

    packed: int | None
    store: int | None
    full_head: int | None
    peak_rss: int


def memory(rows: Sequence[BenchRow]) -> Memory:
    """Return the largest figures of the rows, at least one, of one configuration."""

    def largest(sizes: Iterable[int | None]) -> int | None:
        return max((size for size in sizes if size is not None), default=None)

    return Memory(
        packed=largest(row.packed_bytes for row in rows),
        store=largest(row.store_bytes for row in rows),
        full_head=largest(row.head_bytes for row in rows),
        peak_rss=max(row.report.peak_rss_bytes for row in rows),
    )
