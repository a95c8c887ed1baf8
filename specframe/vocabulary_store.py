"""The active set: membership, slots, capacity and eviction (NanoSpec 2026, in-context vocabulary)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from specframe.errors import SpecframeError, UsageError
from specframe.head import OutputHead

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


class VocabularyStore:
    """Keeps at most ``capacity`` tokens active and tells the gather backend which rows to fetch.

    A token keeps its slot as long as it is active. Pinned ids occupy the first slots and are never evicted.
    The other slots form a ring (``fifo``) or are given to whichever token was admitted longest ago,
    admissions of active tokens included (``lru``).

    Args:
        head: the LM head whose rows become active [V, H].
        backend: is bound to the active set and told which rows to fetch.
        capacity: number of slots.
        eviction: ``fifo`` or ``lru``.
        pinned_ids: ids active from the start of every request [n] int64; duplicates are fine.

    Raises:
        UsageError: the capacity is smaller than the pinned ids or larger than the vocabulary, or a pinned id
            is out of range.
    """

    def __init__(
        self,
        head: OutputHead,
        backend: GatherBackend,
        *,
        capacity: int,
        eviction: Eviction = "fifo",
        pinned_ids: Tensor,
    ) -> None:
        device, vocab_size = head.weight.device, head.vocab_size
        pinned = torch.unique(pinned_ids.to(device=device, dtype=torch.int64))
        if capacity > vocab_size:
            raise UsageError(
                f"capacity {capacity} is larger than the vocabulary; allowed: at most {vocab_size}"
            )
        if len(pinned) > capacity:
            raise UsageError(
                f"capacity {capacity} is below the {len(pinned)} pinned ids; allowed: {len(pinned)} or more"
            )
        self.active = ActiveSet(
            slot_of=torch.full((vocab_size,), -1, dtype=torch.int32, device=device),
            token_of=torch.zeros(capacity, dtype=torch.int32, device=device),
            count=torch.zeros((), dtype=torch.int64, device=device),
        )
        self._backend = backend
        self._eviction = eviction
        self._pinned = len(pinned)
        self._ring = capacity - self._pinned
        self._admitted = 0
        self._clock = 0
        self._last_seen = torch.zeros(self._ring, dtype=torch.int64, device=device)
        self._last_position = torch.full((vocab_size,), -1, dtype=torch.int64, device=device)
        backend.bind(head, self.active)
        self._check_range(pinned)
        self._occupy(torch.arange(self._pinned, device=device), pinned)

    @property
    def size(self) -> int:
        """K, the number of active tokens."""
        return int(self.active.count)

    def contains(self, ids: Tensor) -> Tensor:
        """Return which of ``ids`` [n] are active [n] bool."""
        return self.active.slot_of[ids] >= 0

    def reset(self) -> None:
        """Begin a request: everything but the pinned ids becomes inactive."""
        leaving = self.active.token_of[self._pinned : self.size].long()
        self.active.slot_of[leaving] = -1
        self.active.count.fill_(self._pinned)
        self._admitted = self._clock = 0
        self._last_seen.zero_()

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] active and fetch the rows of those that were not.

        Ids may be active already and may repeat; a repeated id counts where it stands last. Of more ids than
        there are unpinned slots, the last ones stay.

        Raises:
            SpecframeError: an id is negative or beyond the vocabulary.
        """
        if ids.numel() == 0 or self._ring == 0:
            return
        ids = ids.reshape(-1).to(device=self.active.slot_of.device, dtype=torch.int64)
        self._check_range(ids)
        ids = self._last_occurrences(ids)
        slots = self.active.slot_of[ids]
        ids, slots = ids[(slots < 0) | (slots >= self._pinned)], slots[(slots < 0) | (slots >= self._pinned)]
        if self._eviction == "fifo":
            new = ids[slots < 0][-self._ring :]
            offset = torch.arange(self._admitted, self._admitted + len(new), device=new.device)
            new_slots = self._pinned + offset % self._ring
        else:
            ids, slots = ids[-self._ring :], slots[-self._ring :]
            new = ids[slots < 0]
            seen = self._clock + 1 + torch.arange(len(ids), device=ids.device)
            self._clock += len(ids)
            present = slots >= 0
            self._last_seen[slots[present].long() - self._pinned] = seen[present]
            # Slots never used hold stamp 0, so they are given out first, in order.
            free = torch.argsort(self._last_seen, stable=True)[: len(new)]
            self._last_seen[free] = seen[~present]
            new_slots = self._pinned + free
        self._admitted += len(new)
        if len(new):
            self._occupy(new_slots, new)

    def _occupy(self, slots: Tensor, ids: Tensor) -> None:
        """Give ``slots`` [n] to ``ids`` [n], clear their former owners, and fetch the rows."""
        active = self.active
        used = slots < active.count
        active.slot_of[active.token_of[slots[used]].long()] = -1
        active.slot_of[ids] = slots.to(torch.int32)
        active.token_of[slots] = ids.to(torch.int32)
        active.count.fill_(min(self._pinned + self._admitted, active.capacity))
        self._backend.fetch(slots, ids)

    def _last_occurrences(self, ids: Tensor) -> Tensor:
        """Return ``ids`` [n] without repetitions, each where it stands last; touches n entries, not V."""
        position = torch.arange(len(ids), device=ids.device)
        self._last_position.scatter_reduce_(0, ids, position, "amax")
        kept = ids[self._last_position[ids] == position]
        self._last_position[ids] = -1
        return kept

    def _check_range(self, ids: Tensor) -> None:
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(self.active.slot_of):
            vocab_size = len(self.active.slot_of)
            bad = int(ids[(ids < 0) | (ids >= vocab_size)][0])
            raise SpecframeError(
                f"the vocabulary strategy returned token id {bad}; allowed: 0 to {vocab_size - 1}"
            )
