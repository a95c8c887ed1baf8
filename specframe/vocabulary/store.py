"""The active set of a request: membership and admission (NanoSpec 2026, in-context vocabulary)."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet, check_range
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Admitter, GatherBackend
from specframe.errors import SpecframeError, UsageError
from specframe.vocabulary.admission import TorchAdmitter
from specframe.vocabulary.draft_head import DraftHead


class VocabularyStore:
    """Keeps at most ``capacity`` tokens active and has the gather backend fetch their rows.

    A token keeps its slot as long as it is active. Pinned ids occupy the first slots and are never evicted.
    The other slots form a ring (``fifo``) or are given to whichever token was admitted longest ago,
    admissions of active tokens included (``lru``). Who decides that is the backend's own admitter where it
    brings one, and ``TorchAdmitter`` otherwise; both give the same slots.

    Token ids are the target's, and the active set counts in rows of the LM head: the store translates, and
    leaves out the ids that have none.

    Args:
        output_head: the LM head whose rows become active [V, H].
        backend: is bound to the active set and fetches its rows.
        capacity: number of slots.
        eviction: ``fifo`` or ``lru``.
        pinned_ids: ids active from the start of every request [n] int64; duplicates are fine.

    Attributes:
        active: the tensors of the active set, in rows of the LM head.
        head: the backend, as the drafter sees it.
        stays_on_device: the admitter reads nothing on the host, and leaves out ids that are negative.

    Raises:
        UsageError: the capacity is smaller than the pinned ids or larger than the vocabulary.
        SpecframeError: a pinned id is negative or beyond the vocabulary.
    """

    def __init__(
        self,
        output_head: OutputHead,
        backend: GatherBackend,
        *,
        capacity: int,
        eviction: Eviction = "fifo",
        pinned_ids: Tensor,
    ) -> None:
        device, row_map = output_head.device, output_head.row_map
        self.output_head, self._row_map = output_head, row_map
        self.head_tensors, self.device = output_head.tensors, device
        if capacity > row_map.vocab_size:
            raise UsageError(
                f"capacity {capacity} is larger than the vocabulary; allowed: at most {row_map.vocab_size}"
            )
        capacity = min(capacity, output_head.vocab_size)
        pinned_ids = torch.unique(pinned_ids.to(device=device, dtype=torch.int64))
        for extreme in pinned_ids[[0, -1]].tolist() if len(pinned_ids) else []:
            if not 0 <= extreme < row_map.vocab_size:
                raise SpecframeError(
                    f"the vocabulary strategy pins token id {extreme}; allowed: 0 to {row_map.vocab_size - 1}"
                )
        pinned_rows = row_map.rows(pinned_ids)
        pinned_rows = pinned_rows[pinned_rows >= 0]
        pinned = len(pinned_rows)
        if pinned > capacity:
            raise UsageError(
                f"capacity {capacity} is below the {pinned} pinned ids; allowed: {pinned} or more"
            )
        # One more for ids beyond the vocabulary, which a device does not stop at.
        askable = row_map.vocab_size + 1 if row_map.reduced else 0
        self._asked = torch.zeros(askable, dtype=torch.bool, device=device)
        self.active = ActiveSet.of_pinned(pinned_rows, capacity, output_head.vocab_size)
        self._pinned, self._unpinned = pinned, capacity - pinned
        self._dropped = torch.zeros((), dtype=torch.int64)  # rows fetched before the last drop
        self.head = DraftHead(backend, row_map)
        self.head.bind(output_head, self.active)
        if pinned:
            self.head.fetch(torch.arange(pinned, device=device), pinned_rows)
        own = self.head.admitter(self.active, pinned, eviction)
        self.stays_on_device = own is not None
        self._admitter: Admitter = own or TorchAdmitter(self.active, pinned, eviction, self.head.fetch)

    @property
    def active_size(self) -> Tensor:
        """K, [] int64 on the device."""
        return self.active.count.clone()

    @property
    def rows_fetched(self) -> Tensor:
        """How many LM-head rows were fetched since the request began, [] int64; no host read.

        Rows that a drop moves to another slot do not count.
        """
        admitted = self._admitter.admitted
        return admitted + self._dropped.to(admitted.device)

    @property
    def unknown_ids(self) -> int:
        """How many distinct ids without a row in the LM head this request wanted active; a host read."""
        row_of = self._row_map.row_of
        return 0 if row_of is None else int((self._asked[:-1] & (row_of < 0)).sum())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The active set, and what decides over its slots."""
        active = (self.active.slot_of, self.active.token_of, self.active.count)
        return (*active, *self._admitter.tensors, *self._row_map.tensors, self._asked, self._dropped)

    def contains(self, ids: Tensor) -> Tensor:
        """Return which of ``ids`` [n] are active [n] bool."""
        rows = self._row_map.rows(ids)
        return (rows >= 0) & (self.active.slot_of[rows.clamp(min=0)] >= 0)

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every id whether it is active [n] bool, on the device."""
        return self.contains(torch.tensor(ids).to(self.active.slot_of.device, non_blocking=True))

    def proposable(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every id whether it is active [n] bool, on the device."""
        return self.covered(ids)

    def begin_draft(self) -> None:
        """Take a new draft: the active set stays as it is while a tree is drafted."""
        self.head.begin_draft()

    def active_ids(self, count: int) -> Tensor:
        """Return the tokens of the first slots [count] int64."""
        return self._row_map.tokens(self.active.token_of[:count].long())

    def reset(self) -> None:
        """Begin a request: everything but the pinned ids becomes inactive."""
        self._admitter.reset()
        self._dropped = torch.zeros((), dtype=torch.int64)
        self._asked.zero_()

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] active and fetch the rows of those that were not.

        Ids may be active already and may repeat; a repeated id counts where it stands last. Of more ids than
        there are unpinned slots, the last ones stay. Ids that have no row are left out.

        Raises:
            OutsideVocabulary: an id is negative or beyond it, and the admitter reads ids on the host. One
                that stays on the device leaves such ids out.
        """
        if not (ids.numel() and self._unpinned):
            return
        ids = ids.reshape(-1).to(device=self.active.slot_of.device, dtype=torch.int64)
        if self._row_map.reduced:
            ids = self._rows(ids)
        if self.stays_on_device or ids.numel():
            self._admitter.admit(ids)

    def drop(self, ids: Tensor) -> None:
        """Make ``ids`` [n] inactive, pinned ones aside; what stays active keeps its order. A host read."""
        kept = self.active.token_of[self._pinned : int(self.active.count)].long()
        kept = kept[~torch.isin(kept, self._row_map.rows(ids))]
        fetched = self.rows_fetched
        self._admitter.reset()
        if len(kept):
            self._admitter.admit(kept)
        self._dropped = fetched - self._admitter.admitted

    def _rows(self, ids: Tensor) -> Tensor:
        """Return the rows of ``ids`` [n] and note them; where they stay on the device, -1 stands for none."""
        vocab_size = self._row_map.vocab_size
        if not self.stays_on_device:
            check_range(ids, vocab_size)
            self._asked[ids] = True
            rows = self._row_map.rows(ids)
            return rows[rows >= 0]
        inside = (ids >= 0) & (ids < vocab_size)
        self._asked[torch.where(inside, ids, vocab_size)] = True
        return torch.where(inside, self._row_map.rows(ids.clamp(0, vocab_size - 1)), -1)
