"""The drafter's LM head over the active vocabulary, as the drafter sees it."""

from __future__ import annotations

from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.faults import blaming
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Admitter, GatherBackend
from specframe.contracts.row_map import RowMap
from specframe.contracts.screen import Candidates


class DraftHead(GatherBackend):
    """A gather backend in the target's token ids; what goes wrong inside is the backend's fault.

    The backend counts in rows of the drafter's LM head.

    Args:
        backend: does the work.
        row_map: which token each row stands for.
    """

    def __init__(self, backend: GatherBackend, row_map: RowMap) -> None:
        self._backend, self._row_map = backend, row_map
        self.capturable = backend.capturable
        self.scores_candidates = backend.scores_candidates

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach the backend."""
        with blaming("gather"):
            self._backend.bind(head, active)

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy the rows ``ids`` [n] of the LM head into ``slots`` [n]."""
        with blaming("gather"):
            self._backend.fetch(slots, ids)

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens."""
        with blaming("gather"):
            log_probs, rows = self._backend.topk(hidden, k)
            return log_probs, self._row_map.tokens(rows)

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return the k best of candidates and active tokens, as ``topk`` does."""
        with blaming("gather"):
            log_probs, rows = self._backend.candidate_topk(hidden, k, candidates)
            return log_probs, self._row_map.tokens(rows)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32."""
        with blaming("gather"):
            return self._backend.logits(hidden)

    def slot_logits(self, hidden: Tensor, capacity: int) -> Tensor:
        """Return the logits of all slots [N, capacity] float32, -inf in those that hold nothing."""
        with blaming("gather"):
            return self._backend.slot_logits(hidden, capacity)

    def join(self) -> None:
        """Let what is launched next wait for rows that the backend still fetches."""
        with blaming("gather"):
            self._backend.join()

    def admitter(self, active: ActiveSet, pinned: int, eviction: Eviction) -> Admitter | None:
        """Return the backend's own admitter."""
        with blaming("gather"):
            return self._backend.admitter(active, pinned, eviction)

    def held(self) -> tuple[Tensor, ...]:
        """Return what the backend holds."""
        return self._backend.held()
