"""The tensors of an active set: which token is active, and in which slot."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.errors import SpecframeError


class OutsideVocabulary(SpecframeError):
    """An id that was to be admitted is no id of the vocabulary."""


@attrs.frozen(slots=True, eq=False)
class ActiveSet:
    """The tensors that say which token is active and in which slot; written by the store's admitter alone.

    Attributes:
        slot_of: slot of each token id [V] int32; -1 for inactive ids.
        token_of: token id in each slot [capacity] int32; slots from ``count`` on hold nothing.
        count: number of active tokens, [] int64 on the device.
        fixed: every slot is pinned, so nothing ever changes.
    """

    slot_of: Tensor
    token_of: Tensor
    count: Tensor
    fixed: bool = False

    @classmethod
    def of_pinned(cls, pinned_ids: Tensor, capacity: int, vocab_size: int) -> ActiveSet:
        """Return the active set in which ``pinned_ids`` [n] int64 take the first slots, in their order."""
        device, pinned = pinned_ids.device, len(pinned_ids)
        slot_of = torch.full((vocab_size,), -1, dtype=torch.int32, device=device)
        slot_of[pinned_ids] = torch.arange(pinned, dtype=torch.int32, device=device)
        token_of = torch.zeros(capacity, dtype=torch.int32, device=device)
        token_of[:pinned] = pinned_ids
        return cls(slot_of, token_of, torch.tensor(pinned, device=device), fixed=pinned == capacity)

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.token_of.shape[0]


def check_range(ids: Tensor, vocab_size: int) -> None:
    """Raise OutsideVocabulary unless all ``ids`` [n], at least one, are in the vocabulary; a host read."""
    if not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        bad = int(ids[(ids < 0) | (ids >= vocab_size)][0])
        raise OutsideVocabulary(f"token id {bad}; allowed: 0 to {vocab_size - 1}")
