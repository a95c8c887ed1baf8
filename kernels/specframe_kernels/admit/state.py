"""What an admission reads and writes: an active set that lives on the device."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor


@attrs.frozen(slots=True, eq=False)
class Admission:
    """The tensors of an active set, and the list of rows that its last admission made necessary.

    The first ``pinned`` slots never change. The other ``capacity - pinned`` slots form the ring.

    Attributes:
        slot_of: slot of each token id [V] int32; -1 for inactive ids.
        token_of: token id in each slot [capacity] int32; slots from ``count`` on hold nothing.
        count: number of active tokens, [] int64.
        pinned: how many of the first slots are never evicted.
        lru: evict what was admitted longest ago, admissions of active tokens included; else first in,
            first out.
        admitted: ring slots given out since the request began, [] int64.
        order: slots of the ring, the next to be evicted first [ring] int32; only ``lru`` changes it.
        new_slots: slots whose rows are to be fetched [ring] int32, the first ``new_count`` of them.
        new_ids: the ids that are new in those slots [ring] int32.
        new_count: how many, [] int32.
        last_position: scratch, -1 between admissions [V] int32.
        seen: scratch, what ``lru`` moves to the end of ``order`` [ring] int32.
        next_order: scratch, the part of ``order`` that comes before it [ring] int32.
        scalars: scratch: slots in use, candidates seen, position of the first of them [3] int32.
    """

    slot_of: Tensor
    token_of: Tensor
    count: Tensor
    pinned: int
    lru: bool
    admitted: Tensor
    order: Tensor
    new_slots: Tensor
    new_ids: Tensor
    new_count: Tensor
    last_position: Tensor
    seen: Tensor
    next_order: Tensor
    scalars: Tensor

    @classmethod
    def over(cls, slot_of: Tensor, token_of: Tensor, count: Tensor, *, pinned: int, lru: bool) -> Admission:
        """Return the state of an active set whose ``pinned`` first slots are already in ``token_of``.

        Args:
            slot_of: [V] int32.
            token_of: [capacity] int32.
            count: [] int64.
            pinned: number of pinned ids.
            lru: least recently seen instead of first in, first out.
        """
        device, ring = slot_of.device, token_of.shape[0] - pinned

        def entries(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=device)

        state = cls(
            slot_of=slot_of,
            token_of=token_of,
            count=count,
            pinned=pinned,
            lru=lru,
            admitted=torch.zeros((), dtype=torch.int64, device=device),
            order=entries(ring),
            new_slots=entries(ring),
            new_ids=entries(ring),
            new_count=entries(),
            last_position=torch.full_like(slot_of, -1),
            seen=entries(ring),
            next_order=entries(ring),
            scalars=entries(3),
        )
        state.reset()
        return state

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it holds besides the active set."""
        lists = (self.order, self.new_slots, self.new_ids, self.new_count, self.seen, self.next_order)
        return (*lists, self.last_position, self.admitted, self.scalars)

    @property
    def ring(self) -> int:
        """Number of slots that are not pinned."""
        return self.order.shape[0]

    def reset(self) -> None:
        """Begin a request: everything but the pinned ids becomes inactive. Writes V entries, reads none."""
        pinned_slots = torch.arange(self.pinned, dtype=torch.int32, device=self.slot_of.device)
        self.slot_of.fill_(-1)
        self.slot_of.index_copy_(0, self.token_of[: self.pinned].long(), pinned_slots)
        self.count.fill_(self.pinned)
        self.admitted.zero_()
        torch.arange(self.ring, out=self.order)
        self.new_count.zero_()
