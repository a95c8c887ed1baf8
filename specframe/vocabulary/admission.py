"""Admission with plain PyTorch operations: the reference, on any device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet, check_range
from specframe.contracts.kinds import Eviction


class TorchAdmitter:
    """The ``Admitter`` that runs everywhere; how many ids are new decides its shapes, which the host reads.

    Args:
        active: is written; its pinned ids are in their slots already.
        pinned: how many of the first slots are pinned.
        eviction: ``fifo`` or ``lru``.
        fetch: is told which ids [n] got which slots [n].
    """

    def __init__(
        self, active: ActiveSet, pinned: int, eviction: Eviction, fetch: Callable[[Tensor, Tensor], None]
    ) -> None:
        device, vocab_size = active.slot_of.device, len(active.slot_of)
        self._active = active
        self._pinned = pinned
        self._eviction = eviction
        self._fetch = fetch
        self._ring = active.capacity - pinned
        self._admitted = 0
        self._clock = 0
        self._last_seen = torch.zeros(self._ring, dtype=torch.int64, device=device)
        self._last_position = torch.full((vocab_size,), -1, dtype=torch.int64, device=device)

    @property
    def admitted(self) -> Tensor:
        """How many slots were given out since the request began, [] int64."""
        return torch.tensor(self._admitted)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it keeps besides the active set."""
        return (self._last_seen, self._last_position)

    def reset(self) -> None:
        """Make everything but the pinned ids inactive."""
        active = self._active
        leaving = active.token_of[self._pinned : int(active.count)].long()
        active.slot_of[leaving] = -1
        active.count.fill_(self._pinned)
        self._admitted = self._clock = 0
        self._last_seen.zero_()

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] active and fetch the rows of those that were not.

        Raises:
            OutsideVocabulary: an id is negative or beyond the vocabulary.
        """
        check_range(ids, len(self._active.slot_of))
        ids = self._last_occurrences(ids)
        slots = self._active.slot_of[ids]
        if self._eviction == "fifo":
            new = ids[slots < 0][-self._ring :]
            offset = torch.arange(self._admitted, self._admitted + len(new), device=new.device)
            new_slots = self._pinned + offset % self._ring
        else:
            unpinned = (slots < 0) | (slots >= self._pinned)
            ids, slots = ids[unpinned][-self._ring :], slots[unpinned][-self._ring :]
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
        active = self._active
        used = slots < active.count
        active.slot_of[active.token_of[slots[used]].long()] = -1
        active.slot_of[ids] = slots.to(torch.int32)
        active.token_of[slots] = ids.to(torch.int32)
        active.count.fill_(min(self._pinned + self._admitted, active.capacity))
        self._fetch(slots, ids)

    def _last_occurrences(self, ids: Tensor) -> Tensor:
        """Return ``ids`` [n] without repetitions, each where it stands last; touches n entries, not V."""
        position = torch.arange(len(ids), device=ids.device)
        self._last_position.scatter_reduce_(0, ids, position, "amax")
        kept = ids[self._last_position[ids] == position]
        self._last_position[ids] = -1
        return kept
