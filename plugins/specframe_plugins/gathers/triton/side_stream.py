"""Work beside the current stream, and the event that says it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class SideStream:
    """Runs work on a stream of its own; on a device without streams, in place. The host never waits.

    Args:
        device: whose streams.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        streams = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if streams else None
        self._done = torch.cuda.Event() if streams else None

    @contextmanager
    def work(self, *tensors: Tensor) -> Iterator[None]:
        """Put what is launched inside after everything launched so far, but beside what comes next.

        Args:
            *tensors: what is read or written; their memory is not given away before that is done.
        """
        if self._stream is None or self._done is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield
        self._done.record(self._stream)
        for tensor in tensors:
            tensor.record_stream(self._stream)

    def join(self) -> None:
        """Let whatever is launched on the current stream next wait for the work.

        Does nothing inside a capture, which may not wait for what happens outside: whoever replays the graph
        joins before.
        """
        if self._done is not None and not torch.cuda.is_current_stream_capturing():
            torch.cuda.current_stream(self._device).wait_event(self._done)
