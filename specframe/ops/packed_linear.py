"""A linear layer whose weight is stored the way the CPU's matrix instructions read it."""

from __future__ import annotations

import torch
from torch import Tensor


class PackedLinear:
    """Computes ``x @ weight.T + bias``; on a CPU with a weight that oneDNN reordered once.

    PyTorch's own linear reorders the weight at every call, which for a few rows of ``x`` costs as much as the
    product. The reordered weight is a copy. Where ``can_pack`` says no this is PyTorch's own linear.

    Args:
        weight: [out, in].
        bias: [out], or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.out_features = weight.shape[0]
        self._bias = None if bias is None else bias.detach()
        self._packed = can_pack(weight)
        self._weight = weight.detach()
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight.contiguous(), None)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it holds."""
        return (self._weight,) if self._bias is None else (self._weight, self._bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Return [..., out] for [..., in]."""
        if self._packed:
            out: Tensor = torch.ops.mkldnn._linear_pointwise.default(
                x.contiguous(), self._weight, self._bias, "none", [], ""
            )
            return out
        return torch.nn.functional.linear(x, self._weight, self._bias)


def can_pack(weight: Tensor) -> bool:
    """Return whether oneDNN can multiply by a reordered copy of ``weight`` on this machine."""
    if not (weight.is_cpu and torch.backends.mkldnn.is_available()):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32
