"""A CUDA graph on the CPU: what runs inside a capture is written down, and done again at every replay.

Like a real one it knows memory and not Python: values that Python took from a tensor stay what they were at
the capture, and results land where they landed then.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class RecordedGraph(TorchDispatchMode):
    """Stands in for ``torch.cuda.CUDAGraph`` and for the capture around it."""

    made = 0
    replays = 0

    def __init__(self) -> None:
        super().__init__()
        RecordedGraph.made += 1
        self._calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        RecordedGraph.replays += 1
        for func, args, kwargs, out in self._calls:
            for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def record_graphs(monkeypatch: pytest.MonkeyPatch) -> type[RecordedGraph]:
    """Let ``specframe.ops.graphs`` capture on the CPU; return the class, which counts."""

    class Stream:
        def wait_stream(self, other: object) -> None:
            """Everything happens in order here."""

    monkeypatch.setattr(RecordedGraph, "made", 0)
    monkeypatch.setattr(RecordedGraph, "replays", 0)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    return RecordedGraph
