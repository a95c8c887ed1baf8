"""The active set: membership, slots, capacity and eviction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from specframe.errors import UsageError

if TYPE_CHECKING:
    from specframe.protocols import Eviction, GatherBackend


@attrs.frozen(slots=True, eq=False)
class ActiveSet:
    """The tensors that say which token is active and in which slot; written by the store alone.

    Attributes:
        slot_of: slot of each token id [V] int32; -1 for inactive ids.
        token_of: token id in each slot [capacity] int32; slots from ``count`` on hold nothing.
        count: number of active tokens, [] int64 on the device.
    """

    slot_of: Tensor
    token_of: Tensor
    count: Tensor

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.token_of.shape[0]
