"""A gather backend over a reduced LM head, seen by the drafter in the target's token ids."""

from __future__ import annotations

from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Capturable, GatherBackend
from specframe.contracts.row_map import ReducedVocabulary


class TranslatedHead:
    """Hands everything on to a backend, whose ids are rows of the reduced head, and translates what returns.

    Args:
        backend: bound to the reduced head.
        reduced: which token each row stands for.
    """

    def __init__(self, backend: GatherBackend, reduced: ReducedVocabulary) -> None:
        self._backend = backend
        self._reduced = reduced

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach the backend."""
        self._backend.bind(head, active)

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy the rows ``ids`` [n] of the head into ``slots`` [n]."""
        self._backend.fetch(slots, ids)

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens."""
        log_probs, rows = self._backend.topk(hidden, k)
        return log_probs, self._reduced.tokens(rows)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32."""
        return self._backend.logits(hidden)


class CapturableTranslatedHead(TranslatedHead):
    """The same over a backend that a CUDA graph can hold."""

    def join(self) -> None:
        """Let what is launched next wait for rows that the backend still fetches."""
        assert isinstance(self._backend, Capturable)
        self._backend.join()


def translated(backend: GatherBackend, reduced: ReducedVocabulary) -> TranslatedHead:
    """Return the backend behind a translation; it can be captured if the backend can."""
    kind = CapturableTranslatedHead if isinstance(backend, Capturable) else TranslatedHead
    return kind(backend, reduced)
