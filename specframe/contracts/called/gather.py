"""A gather backend as the engine and drafters call it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.called.admitter import CalledAdmitter
from specframe.contracts.called.members import check_members, is_own, read_flag
from specframe.contracts.called.question import check_question
from specframe.contracts.faults import ComponentError, Owner
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Admitter, GatherBackend
from specframe.contracts.screen import Candidates

Answer = TypeVar("Answer")

# Answers that are looked at when a draft went wrong, and how far rounding lifts the logarithm of a certainty.
_LOOKED_AT, _CERTAINTY = 32, 1e-4


class CalledGather(GatherBackend):
    """Calls a gather backend.

    A drafter that is given a broken answer fails, or drafts a broken tree. So the form of every answer is
    checked at once, for it costs no read of the device, and ``fault`` looks at the values when a draft went
    wrong.

    Args:
        backend: is called.
        owner: whose it is.

    Raises:
        ComponentError: it cannot be called, or something that it declares is not allowed.
    """

    def __init__(self, backend: GatherBackend, owner: Owner) -> None:
        check_members(owner, backend, GatherBackend)
        self.component, self.owner = backend, owner
        self.capturable = read_flag(owner, backend, "capturable", GatherBackend)
        self.scores_candidates = read_flag(owner, backend, "scores_candidates", GatherBackend)
        self._joins = is_own(backend, "join", GatherBackend)
        self._head: OutputHead | None = None
        self._slots = 0
        self._answers: deque[tuple[Tensor, Tensor]] = deque(maxlen=_LOOKED_AT)
        self._failed: ComponentError | None = None
        self._in = {
            name: owner.blame(f"{name}()")
            for name in ("fetch", "topk", "candidate_topk", "logits", "slot_logits", "join", "held")
        }

    def begin_draft(self) -> None:
        """Forget what was answered in drafts before."""
        self._answers.clear()
        self._failed = None

    def fault(self) -> ComponentError | None:
        """Return what the backend did wrong since the draft began, or None; it reads the device."""
        if self._failed is not None or self._head is None:
            return self._failed
        rows = self._head.vocab_size
        try:
            for log_probs, ids in self._answers:
                # A drafter may have written into what it was given, but not what these say.
                outside = ids[(ids < -1) | (ids >= rows)]
                if outside.numel():
                    return self.owner.fault(f"answered with row {int(outside[0])}; allowed: -1 to {rows - 1}")
                wrong = log_probs[log_probs.isnan() | (log_probs > _CERTAINTY)]
                if wrong.numel():
                    value = float(wrong[0])
                    return self.owner.fault(f"answered with log-probability {value:g}; allowed: 0 or less")
        except RuntimeError:  # a device that has failed shows nothing any more
            return None
        return None

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach the backend."""
        self._head, self._slots = head, head.vocab_size if active is None else active.capacity
        with self.owner.declares("bind()"):
            self.component.bind(head, active)

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy the rows ``ids`` [n] of the LM head into ``slots`` [n]."""
        with self._in["fetch"]:
            self.component.fetch(slots, ids)

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and rows [N, k] int64 of the k best active tokens."""
        return self._best("topk", hidden, k, lambda: self.component.topk(hidden, k))

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return the k best of candidates and active tokens, as ``topk`` does."""
        return self._best(
            "candidate_topk", hidden, k, lambda: self.component.candidate_topk(hidden, k, candidates)
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32."""
        logits = self._asked("logits", hidden, None, lambda: self.component.logits(hidden))
        most = self._slots
        if not self._is(logits, torch.float32, hidden) or logits.dim() != 2 or logits.shape[1] > most:
            raise self._wrong("logits", hidden, None, logits, f"[{len(hidden)}, K] with K up to {most}")
        return logits

    def slot_logits(self, hidden: Tensor, capacity: int) -> Tensor:
        """Return the logits of all slots [N, capacity] float32, -inf in those that hold nothing."""
        logits = self._asked(
            "slot_logits", hidden, None, lambda: self.component.slot_logits(hidden, capacity)
        )
        if not self._is(logits, torch.float32, hidden) or logits.shape != (len(hidden), capacity):
            raise self._wrong("slot_logits", hidden, None, logits, f"[{len(hidden)}, {capacity}]")
        return logits

    def join(self) -> None:
        """Let what is launched next wait for rows that the backend still fetches."""
        if self._joins:
            with self._in["join"]:
                self.component.join()

    def admitter(self, active: ActiveSet, pinned: int, eviction: Eviction) -> Admitter | None:
        """Return the backend's own admitter, as it is called."""
        with self.owner.blame("admitter()"):
            own = self.component.admitter(active, pinned, eviction)
        return None if own is None else CalledAdmitter(own, self.owner, len(active.slot_of))

    def held(self) -> tuple[Tensor, ...]:
        """Return what the backend holds."""
        with self._in["held"]:
            held = tuple(self.component.held())
        if not all(isinstance(one, Tensor) for one in held):
            raise self.owner.fault("returned something else than tensors from held(); allowed: tensors")
        return held

    def _best(
        self, name: str, hidden: Tensor, k: int, call: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Return an answer of k tokens for each state, if it is one."""
        answer = self._asked(name, hidden, k, call)
        if type(answer) is not tuple or len(answer) != 2:
            raise self._wrong(name, hidden, k, answer, "log-probabilities and rows")
        for values, dtype in zip(answer, (torch.float32, torch.int64), strict=True):
            if not self._is(values, dtype, hidden) or values.shape != (len(hidden), k):
                raise self._wrong(name, hidden, k, values, f"[{len(hidden)}, {k}]", dtype)
        self._answers.append(answer)
        return answer

    def _asked(self, name: str, hidden: Tensor, k: int | None, call: Callable[[], Answer]) -> Answer:
        """Return what the backend answers; the caller is at fault where the question was wrong."""
        try:
            with self._in[name]:
                return call()
        except ComponentError as error:
            self._check(hidden, k)
            self._failed = error
            raise

    def _check(self, hidden: Tensor, k: int | None) -> None:
        if self._head is not None:
            check_question(self._head, hidden, k, self._head.vocab_size)

    def _is(self, values: object, dtype: torch.dtype, hidden: Tensor) -> bool:
        return isinstance(values, Tensor) and values.dtype is dtype and values.device == hidden.device

    def _wrong(
        self,
        name: str,
        hidden: Tensor,
        k: int | None,
        answer: object,
        shape: str,
        dtype: torch.dtype = torch.float32,
    ) -> ComponentError:
        """Return the fault of an answer of the wrong form, unless the question was wrong."""
        self._check(hidden, k)
        if isinstance(answer, Tensor):
            found = f"a tensor {list(answer.shape)} {answer.dtype} on {answer.device}"
        else:
            found = f"a {type(answer).__name__}"
            if isinstance(answer, tuple):
                found += f" of {len(answer)}"
        allowed = shape if shape.startswith("log") else f"{shape} {dtype} on {hidden.device}"
        self._failed = self.owner.fault(f"returned {found} from {name}(); allowed: {allowed}")
        return self._failed
