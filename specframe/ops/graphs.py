"""The CUDA graph around a step: captured once, then replayed without the host's work of launching it."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

_WARM_UPS = 3  # libraries allocate and kernels compile at the first calls, which a capture does not allow


class CapturedSteps:
    """Captures a step the first time it is asked for, and replays it from then on.

    A step may be captured when it reads and writes the same memory at every call, reads nothing on the host,
    and running it again changes nothing: it is run a few times before the capture. ROCm devices have such
    graphs under the same names.

    Args:
        device: a CUDA or ROCm device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._captured: dict[Hashable, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]] = {}

    def run(self, key: Hashable, step: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Return what ``step`` returns, as copies: the graph's own outputs change at the next replay.

        Args:
            key: what decides about the step's shapes and addresses; another key is captured anew.
            step: launches work on the current stream.
        """
        if key not in self._captured:
            self._captured[key] = self._capture(step)
        graph, outputs = self._captured[key]
        graph.replay()
        return tuple(output.clone() for output in outputs)

    def forget(self) -> None:
        """Drop all captures: some buffer is elsewhere now."""
        self._captured.clear()

    def _capture(
        self, step: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
        side, current = torch.cuda.Stream(self._device), torch.cuda.current_stream(self._device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                step()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = step()
        return graph, outputs
