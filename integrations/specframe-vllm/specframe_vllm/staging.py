"""Numbers of the host on their way to the device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(numbers: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on the device, without waiting for what the device is doing.

    Only from pinned memory is such a copy asynchronous; out of any other the driver may wait. The copy in
    pinned memory is nobody else's: what the caller writes into ``numbers`` later changes nothing, and torch
    gives the memory to no one before the device has read it.
    """
    if device.type == "cuda":  # ROCm devices are called so too
        return numbers.pin_memory().to(device, non_blocking=True)
    return numbers.to(device)
