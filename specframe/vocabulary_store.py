"""The active set of a request: membership and admission (NanoSpec 2026, in-context vocabulary)."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.active_set import ActiveSet
from specframe.admission import TorchAdmitter
from specframe.errors import SpecframeError, UsageError
from specframe.head import OutputHead
from specframe.protocols import Admitter, BringsAdmitter, Eviction, GatherBackend


class VocabularyStore:
    """Keeps at most ``capacity`` tokens active and has the gather backend fetch their rows.

    A token keeps its slot as long as it is active. Pinned ids occupy the first slots and are never evicted.
    The other slots form a ring (``fifo``) or are given to whichever token was admitted longest ago,
    admissions of active tokens included (``lru``). Who decides that is the backend's own admitter where it
    brings one, and ``TorchAdmitter`` otherwise; both give the same slots.

    Args:
        head: the LM head whose rows become active [V, H].
        backend: is bound to the active set and fetches its rows.
        capacity: number of slots.
        eviction: ``fifo`` or ``lru``.
        pinned_ids: ids active from the start of every request [n] int64; duplicates are fine.

    Attributes:
        active: the tensors of the active set.

    Raises:
        UsageError: the capacity is smaller than the pinned ids or larger than the vocabulary.
        SpecframeError: a pinned id is negative or beyond the vocabulary.
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
        pinned_ids = torch.unique(pinned_ids.to(device=device, dtype=torch.int64))
        pinned = len(pinned_ids)
        if capacity > vocab_size:
            raise UsageError(
                f"capacity {capacity} is larger than the vocabulary; allowed: at most {vocab_size}"
            )
        if pinned > capacity:
            raise UsageError(
                f"capacity {capacity} is below the {pinned} pinned ids; allowed: {pinned} or more"
            )
        for extreme in pinned_ids[[0, -1]].tolist() if pinned else []:
            if not 0 <= extreme < vocab_size:
                raise SpecframeError(
                    f"the vocabulary strategy pins token id {extreme}; allowed: 0 to {vocab_size - 1}"
                )
        self.active = ActiveSet.of_pinned(pinned_ids, capacity, vocab_size)
        self._unpinned = capacity - pinned
        backend.bind(head, self.active)
        if pinned:
            backend.fetch(torch.arange(pinned, device=device), pinned_ids)
        self._admitter: Admitter = (
            backend.admitter(self.active, pinned, eviction)
            if isinstance(backend, BringsAdmitter)
            else TorchAdmitter(self.active, pinned, eviction, backend.fetch)
        )

    @property
    def size(self) -> int:
        """K, the number of active tokens; a host read."""
        return int(self.active.count)

    @property
    def rows_fetched(self) -> Tensor:
        """How many LM-head rows were fetched since the request began, [] int64; no host read."""
        return self._admitter.admitted

    def contains(self, ids: Tensor) -> Tensor:
        """Return which of ``ids`` [n] are active [n] bool."""
        return self.active.slot_of[ids] >= 0

    def reset(self) -> None:
        """Begin a request: everything but the pinned ids becomes inactive."""
        self._admitter.reset()

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] active and fetch the rows of those that were not.

        Ids may be active already and may repeat; a repeated id counts where it stands last. Of more ids than
        there are unpinned slots, the last ones stay.

        Raises:
            SpecframeError: an id is negative or beyond the vocabulary, and the admitter reads ids on the
                host. One that stays on the device leaves such ids out.
        """
        if ids.numel() and self._unpinned:
            self._admitter.admit(ids.reshape(-1).to(device=self.active.slot_of.device, dtype=torch.int64))
