"""What drafting over K tokens costs on this machine: the packed head and the fetch of new rows, measured."""

from __future__ import annotations

import json
import platform
import statistics
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path
from time import perf_counter
from typing import Any

import attrs
import torch

from specframe.config import RunConfig
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import GatherBackend
from specframe.contracts.records import structure, write_whole
from specframe.errors import UsageError
from specframe.registry.choice import resolve_gather, setting_for
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.placement import find_dtype
from specframe.replay.trace import TraceHeader
from specframe.vocabulary.store import VocabularyStore

_SIZES = (64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144)
_FETCHES = (1, 16, 64, 256, 1024)
_SECONDS_PER_POINT = 0.15
_LEAST_RUNS = 5


@attrs.frozen(slots=True, kw_only=True)
class HeadCosts:
    """Seconds by size, measured with one hidden size, dtype and number of hidden states.

    Attributes:
        hidden_size: H.
        dtype: of the head.
        branching: hidden states per head call, and k of its top-k.
        machine: where it was measured, for people.
        threads: of PyTorch.
        sizes: K, rising.
        head_s: one head call over K rows, by ``sizes``.
        fetches: numbers of rows, rising.
        fetch_s: fetching that many rows, by ``fetches``.
    """

    hidden_size: int
    dtype: str
    branching: int
    machine: str
    threads: int
    sizes: list[int]
    head_s: list[float]
    fetches: list[int]
    fetch_s: list[float]

    def head(self, size: float) -> float:
        """Return the seconds of one head call over ``size`` rows."""
        return _interpolate(self.sizes, self.head_s, size)

    def screen(self, rows: float, candidates: int) -> float:
        """Return the seconds that one head call takes for a screen.

        Args:
            rows: what the screen reads, in rows of the LM head.
            candidates: rows of each hidden state; picking them out is what fetching them is.
        """
        return self.head(rows) + self.fetch(self.branching * candidates)

    def fetch(self, rows: float) -> float:
        """Return the seconds of fetching ``rows`` rows."""
        return _interpolate(self.fetches, self.fetch_s, rows) if rows > 0 else 0.0


def measured_costs(header: TraceHeader, path: Path | None) -> HeadCosts:
    """Return the costs in a file; measure them, and write the file, where there is none.

    Args:
        header: of the trace; its head is what is measured.
        path: of the file; None measures and keeps nothing.

    Raises:
        UsageError: the file holds something else, or was measured for another head.
        SpecframeError: it cannot be written.
    """
    if path is not None and path.exists():
        costs = _read(path)
        for name, measured, traced in (
            ("hidden_size", costs.hidden_size, header.hidden_size),
            ("dtype", costs.dtype, header.dtype),
            ("branching", costs.branching, header.branching),
        ):
            if measured != traced:
                raise UsageError(
                    f"{path} was measured with {name} {measured}, and the trace has {traced}; "
                    "allowed: another file, which is then written"
                )
        return costs
    costs = measure(header)
    if path is not None:
        write_whole(path, json.dumps(attrs.asdict(costs)).encode())
    return costs


@torch.inference_mode()
def measure(header: TraceHeader) -> HeadCosts:
    """Measure the gather backend ``torch`` with random rows in the shape of the trace's head; seconds."""
    vocab_size = len(header.draft_ids) if header.draft_ids else header.vocab_size
    weight = torch.randn(vocab_size, header.hidden_size).to(find_dtype(header.dtype))
    head = OutputHead(weight)
    sizes = sorted({*(size for size in _SIZES if header.branching <= size < vocab_size), vocab_size})
    fetches = [rows for rows in _FETCHES if rows < vocab_size]
    hidden = torch.randn(header.branching, header.hidden_size).to(weight.dtype)
    head_s, order = [], torch.randperm(vocab_size)
    for size in sizes:
        gather = _gather(weight.dtype)
        VocabularyStore(head, gather, capacity=size, pinned_ids=order[:size])
        head_s.append(_median_seconds(partial(gather.topk, hidden, header.branching)))
    gather = _gather(weight.dtype)
    VocabularyStore(head, gather, capacity=vocab_size, pinned_ids=order[:0])
    fetch_s = [_median_seconds(partial(gather.fetch, torch.arange(rows), order[:rows])) for rows in fetches]
    return HeadCosts(
        hidden_size=header.hidden_size,
        dtype=header.dtype,
        branching=header.branching,
        machine=platform.processor() or platform.machine(),
        threads=torch.get_num_threads(),
        sizes=sizes,
        # More rows cannot cost less; what says so is noise.
        head_s=list(accumulate(head_s, max)),
        fetches=fetches,
        fetch_s=list(accumulate(fetch_s, max)),
    )


def _gather(dtype: torch.dtype) -> GatherBackend:
    registry, config = build_registry(create_plugin_manager()), RunConfig()
    setting = setting_for(config, torch.device("cpu"), dtype)
    component = registry.get("gather", resolve_gather(config, registry, setting).gather)
    nothing: Any = None  # a backend of the CPU needs nothing of a target
    gather: GatherBackend = component.factory(component.options(), nothing)
    return gather


def _median_seconds(call: Callable[[], object]) -> float:
    call()
    seconds: list[float] = []
    began = perf_counter()
    while len(seconds) < _LEAST_RUNS or perf_counter() - began < _SECONDS_PER_POINT:
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    return statistics.median(seconds)


def _interpolate(at: list[int], values: list[float], x: float) -> float:
    """Return the value at ``x`` on the line through its neighbours; beyond the ends, on the last line."""
    if len(at) == 1:
        return values[0] * x / at[0]
    right = min(max(bisect_right(at, x), 1), len(at) - 1)
    left = right - 1
    share = (x - at[left]) / (at[right] - at[left])
    return max(values[left] + share * (values[right] - values[left]), 0.0)


def _read(path: Path) -> HeadCosts:
    try:
        return structure(HeadCosts, json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} holds no measured costs ({error})") from None
