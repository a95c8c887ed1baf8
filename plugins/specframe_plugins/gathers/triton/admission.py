"""Admission that stays on the device: launches whose shapes never depend on what is admitted."""

from __future__ import annotations

from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.kinds import Eviction
from specframe_kernels.admit.state import Admission
from specframe_kernels.admit.triton import admit
from specframe_plugins.gathers.triton.rows import Rows


class TritonAdmitter:
    """The ``Admitter`` that never waits for the device; ids outside the vocabulary are left out.

    Args:
        active: is written; its pinned ids are in their slots already.
        pinned: how many of the first slots are pinned.
        eviction: ``fifo`` or ``lru``.
        rows: fetched for the ids that are new.
    """

    def __init__(self, active: ActiveSet, pinned: int, eviction: Eviction, rows: Rows) -> None:
        self._state = Admission.over(
            active.slot_of, active.token_of, active.count, pinned=pinned, lru=eviction == "lru"
        )
        self._rows = rows

    @property
    def admitted(self) -> Tensor:
        """How many slots were given out since the request began, [] int64 on the device."""
        return self._state.admitted.clone()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it keeps besides the active set."""
        return self._state.tensors

    def reset(self) -> None:
        """Make everything but the pinned ids inactive."""
        self._rows.join()  # the last copies may still read what is cleared now
        self._state.reset()

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] active and start to fetch the rows of those that were not."""
        state = self._state
        self._rows.join()  # the last copies may still read the list that is written now
        admit(state, ids.contiguous())
        most = min(len(ids), state.ring)
        self._rows.fetch(state.new_slots[:most], state.new_ids[:most], state.new_count)
