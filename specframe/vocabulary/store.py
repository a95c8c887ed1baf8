"""The active set of a request: membership and admission (NanoSpec 2026, in-context vocabulary)."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Admitter, BringsAdmitter, Eviction, GatherBackend
from specframe.contracts.row_map import ReducedVocabulary
from specframe.errors import SpecframeError, UsageError
from specframe.vocabulary.admission import TorchAdmitter, check_range


class VocabularyStore:
    """Keeps at most ``capacity`` tokens active and has the gather backend fetch their rows.

    A token keeps its slot as long as it is active. Pinned ids occupy the first slots and are never evicted.
    The other slots form a ring (``fifo``) or are given to whichever token was admitted longest ago,
    admissions of active tokens included (``lru``). Who decides that is the backend's own admitter where it
    brings one, and ``TorchAdmitter`` otherwise; both give the same slots.

    Token ids are the target's. Where the head is a reduced one, the active set counts in its rows: the store
    translates, and leaves out the ids that have none.

    Args:
        head: the LM head whose rows become active [V, H].
        backend: is bound to the active set and fetches its rows.
        capacity: number of slots.
        eviction: ``fifo`` or ``lru``.
        pinned_ids: ids active from the start of every request [n] int64; duplicates are fine.

    Attributes:
        active: the tensors of the active set, in rows of ``head``.

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
        device = head.weight.device
        self._reduced = head.reduced
        vocab_size = head.vocab_size if head.reduced is None else len(head.reduced.row_of)
        pinned_ids = torch.unique(pinned_ids.to(device=device, dtype=torch.int64))
        if head.reduced is not None:
            capacity = min(capacity, head.vocab_size)
        if capacity > head.vocab_size:
            raise UsageError(
                f"capacity {capacity} is larger than the vocabulary; allowed: at most {head.vocab_size}"
            )
        for extreme in pinned_ids[[0, -1]].tolist() if len(pinned_ids) else []:
            if not 0 <= extreme < vocab_size:
                raise SpecframeError(
                    f"the vocabulary strategy pins token id {extreme}; allowed: 0 to {vocab_size - 1}"
                )
        if head.reduced is not None:
            pinned_ids = head.reduced.row_of[pinned_ids]
            pinned_ids = pinned_ids[pinned_ids >= 0]
            # One more for ids beyond the vocabulary, which a device does not stop at.
            self._asked = torch.zeros(vocab_size + 1, dtype=torch.bool, device=device)
        pinned = len(pinned_ids)
        if pinned > capacity:
            raise UsageError(
                f"capacity {capacity} is below the {pinned} pinned ids; allowed: {pinned} or more"
            )
        self.active = ActiveSet.of_pinned(pinned_ids, capacity, head.vocab_size)
        self._pinned, self._unpinned = pinned, capacity - pinned
        self._dropped = torch.zeros((), dtype=torch.int64)  # rows fetched before the last drop
        backend.bind(head, self.active)
        if pinned:
            backend.fetch(torch.arange(pinned, device=device), pinned_ids)
        self._stays_on_device = isinstance(backend, BringsAdmitter)
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
        """How many LM-head rows were fetched since the request began, [] int64; no host read.

        Rows that a drop moves to another slot do not count.
        """
        admitted = self._admitter.admitted
        return admitted + self._dropped.to(admitted.device)

    @property
    def unknown_ids(self) -> int:
        """How many distinct ids without a row in the head this request wanted active; a host read."""
        if self._reduced is None:
            return 0
        return int((self._asked[:-1] & (self._reduced.row_of < 0)).sum())

    def contains(self, ids: Tensor) -> Tensor:
        """Return which of ``ids`` [n] are active [n] bool."""
        if self._reduced is None:
            return self.active.slot_of[ids] >= 0
        rows = self._reduced.row_of[ids]
        return (rows >= 0) & (self.active.slot_of[rows.clamp(min=0)] >= 0)

    def reset(self) -> None:
        """Begin a request: everything but the pinned ids becomes inactive."""
        self._admitter.reset()
        self._dropped = torch.zeros((), dtype=torch.int64)
        if self._reduced is not None:
            self._asked.zero_()

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] active and fetch the rows of those that were not.

        Ids may be active already and may repeat; a repeated id counts where it stands last. Of more ids than
        there are unpinned slots, the last ones stay. Ids that a reduced head has no row for are left out.

        Raises:
            OutsideVocabulary: an id is negative or beyond it, and the admitter reads ids on the host. One
                that stays on the device leaves such ids out.
        """
        if not (ids.numel() and self._unpinned):
            return
        ids = ids.reshape(-1).to(device=self.active.slot_of.device, dtype=torch.int64)
        if self._reduced is not None:
            ids = self._rows(ids, self._reduced)
        if self._stays_on_device or ids.numel():
            self._admitter.admit(ids)

    def drop(self, ids: Tensor) -> None:
        """Make ``ids`` [n] inactive, pinned ones aside; what stays active keeps its order. A host read."""
        if self._reduced is not None:
            ids = self._reduced.row_of[ids]
        kept = self.active.token_of[self._pinned : int(self.active.count)].long()
        kept = kept[~torch.isin(kept, ids)]
        fetched = self.rows_fetched
        self._admitter.reset()
        if len(kept):
            self._admitter.admit(kept)
        self._dropped = fetched - self._admitter.admitted

    def _rows(self, ids: Tensor, reduced: ReducedVocabulary) -> Tensor:
        """Return the head's rows of ``ids`` [n]; where they stay on the device, -1 stands for none."""
        vocab_size = len(reduced.row_of)
        if not self._stays_on_device:
            check_range(ids, vocab_size)
            self._asked[ids] = True
            rows = reduced.row_of[ids]
            return rows[rows >= 0]
        inside = (ids >= 0) & (ids < vocab_size)
        self._asked[torch.where(inside, ids, vocab_size)] = True
        return torch.where(inside, reduced.row_of[ids.clamp(0, vocab_size - 1)], -1)
