"""The drafter's LM head over the active vocabulary, as the drafter sees it."""

from __future__ import annotations

from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.called.drafter import SeenHead
from specframe.contracts.called.gather import CalledGather
from specframe.contracts.faults import ComponentError
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Admitter, GatherBackend
from specframe.contracts.row_map import RowMap
from specframe.contracts.screen import Candidates


class DraftHead(SeenHead):
    """A gather backend in the target's token ids.

    The backend counts in rows of the drafter's LM head.

    Args:
        backend: does the work.
        row_map: which token each row stands for.
    """

    def __init__(self, backend: GatherBackend, row_map: RowMap) -> None:
        self._backend, self._row_map = backend, row_map
        self.capturable = backend.capturable
        self.scores_candidates = backend.scores_candidates

    def begin_draft(self) -> None:
        """Forget what was answered in drafts before."""
        if isinstance(self._backend, CalledGather):
            self._backend.begin_draft()

    def fault(self) -> ComponentError | None:
        """Return what the backend did wrong since the draft began, or None; it reads the device."""
        return self._backend.fault() if isinstance(self._backend, CalledGather) else None

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach the backend."""
        self._backend.bind(head, active)

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy the rows ``ids`` [n] of the LM head into ``slots`` [n]."""
        self._backend.fetch(slots, ids)

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens."""
        log_probs, rows = self._backend.topk(hidden, k)
        return log_probs, self._row_map.tokens(rows)

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return the k best of candidates and active tokens, as ``topk`` does."""
        log_probs, rows = self._backend.candidate_topk(hidden, k, candidates)
        return log_probs, self._row_map.tokens(rows)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32."""
        return self._backend.logits(hidden)

    def slot_logits(self, hidden: Tensor, capacity: int) -> Tensor:
        """Return the logits of all slots [N, capacity] float32, -inf in those that hold nothing."""
        return self._backend.slot_logits(hidden, capacity)

    def join(self) -> None:
        """Let what is launched next wait for rows that the backend still fetches."""
        self._backend.join()

    def admitter(self, active: ActiveSet, pinned: int, eviction: Eviction) -> Admitter | None:
        """Return the backend's own admitter."""
        return self._backend.admitter(active, pinned, eviction)

    def held(self) -> tuple[Tensor, ...]:
        """Return what the backend holds."""
        return self._backend.held()
