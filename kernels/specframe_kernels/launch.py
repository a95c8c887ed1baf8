"""A kernel launch as a value, so that what is compiled ahead of time is exactly what is launched."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor


@attrs.frozen(slots=True, eq=False)
class Launch:
    """One kernel, its grid and its arguments.

    A grid is made of shapes alone, never of values on the device, so launching waits for nothing and can be
    captured in a graph.

    Attributes:
        kernel: the function under ``triton.jit``.
        grid: programs per axis.
        arguments: every parameter by name: tensors, numbers, None for what is left out.
        num_warps: warps per program.
        num_stages: buffers of the software pipeline.
    """

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Tensor | float | None]
    num_warps: int = 4
    num_stages: int = 1

    @property
    def tensors(self) -> list[Tensor]:
        """The arguments that live on the device."""
        return [value for value in self.arguments.values() if isinstance(value, Tensor)]

    def run(self) -> None:
        """Put the launch on the current stream of its tensors' device."""
        with torch.cuda.device_of(self.tensors[0]):
            self.kernel[self.grid](
                **self.arguments,
                num_warps=self.num_warps,
                num_stages=self.num_stages,
                enable_fp_fusion=True,
            )


def require_rows(name: str, tensor: Tensor) -> None:
    """Refuse a matrix whose rows do not follow each other in memory: the kernels compute addresses from H.

    Raises:
        ValueError: ``tensor`` is not contiguous.
    """
    if not tensor.is_contiguous():
        raise ValueError(f"{name} must be contiguous; its strides are {tensor.stride()}")
