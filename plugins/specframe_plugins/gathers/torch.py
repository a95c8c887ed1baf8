"""Gather backend ``torch``: a packed copy of the active LM-head rows, right on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import GatherBackend
from specframe.contracts.screen import Candidates
from specframe.ops.packed_linear import PackedLinear
from specframe.ops.row_maxima import row_topk
from specframe.registry.components import BuildContext, NoOptions

# On the CPU a product of a width that was not there before costs ten times as much: code is made for it. An
# active set grows with almost every pass, so its width is rounded up to a multiple of this.
_WIDTH_STEP = 256


class TorchGather(GatherBackend):
    """Gathers rows with ``index_select`` and multiplies by the packed copy.

    Source: NanoSpec (2026), packed vocabulary. Rows from the active count on hold what earlier tokens left
    there, so they must never be seen: their logits are masked. On the CPU few of them are multiplied. On
    other devices reading the count would stall the stream, so there every slot is.

    Rows that never change, those of a static map, are kept in the order that the CPU multiplies by, if the
    full head is: for rows that do change, reordering takes longer than it saves (docs/performance.md).
    """

    capturable = True
    scores_candidates = True

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach to a head and an active set, with room for ``capacity`` rows; None uses the head itself."""
        self._head = head
        self._active = active
        self._reads_count = head.device.type == "cpu"
        self._product: PackedLinear | None = None
        capacity = 0 if active is None else active.capacity
        self._weight = torch.zeros(capacity, head.hidden_size, dtype=head.dtype, device=head.device)
        self._bias = None if head.bias is None else head.bias.detach().new_zeros(capacity)

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy the head rows of ``ids`` [n] into ``slots`` [n]."""
        self._weight.index_copy_(0, slots, self._head.rows(ids))
        if self._bias is not None and self._head.bias is not None:
            self._bias.index_copy_(0, slots, self._head.bias.detach().index_select(0, ids))
        if self._active is not None and self._active.fixed and self._head.product is not None:
            self._product = PackedLinear(self._weight, self._bias)
            self._weight = self._weight[:0].clone()  # a fixed set is fetched once

    def held(self) -> tuple[Tensor, ...]:
        """Return the packed rows."""
        product = () if self._product is None else self._product.tensors
        return (self._weight, *product, *([] if self._bias is None else [self._bias]))

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens."""
        logits = self._logits(hidden)
        n, width = logits.shape
        found = min(k, width)
        if found == 0:
            return logits.new_full((n, k), -torch.inf), logits.new_full((n, k), -1, dtype=torch.int64)
        best, slots = row_topk(logits, found)
        # In place, because another [N, V] float32 tensor costs more than the exponentials.
        peak = best[:, :1]
        total = logits.sub_(peak).exp_().sum(dim=-1, keepdim=True)
        log_probs, ids = best - peak - total.log(), self._token_ids(slots)
        if self._active is not None:
            stale = slots >= self._active.count
            log_probs = log_probs.masked_fill(stale, -torch.inf)
            ids = ids.masked_fill(stale, -1)
        if found < k:
            log_probs = torch.nn.functional.pad(log_probs, (0, k - found), value=-torch.inf)
            ids = torch.nn.functional.pad(ids, (0, k - found), value=-1)
        return log_probs, ids

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and rows [N, k] int64 of the best of both."""
        assert self._active is not None
        rows = candidates.rows
        if self._active.capacity:
            rows = rows.masked_fill(self._active.slot_of[rows.clamp(min=0)] >= 0, -1)
        if candidates.logits is None:
            logits = self._head.candidate_logits(hidden, rows)
        else:
            logits = candidates.logits.masked_fill(rows < 0, -torch.inf)
        if self._active.capacity:
            own = self._logits(hidden)
            slots = self._active.token_of[: own.shape[1]].long()
            logits = torch.cat([own, logits], dim=1)
            rows = torch.cat([slots.expand(len(hidden), -1), rows], dim=1)
        total = candidates.log_total
        if total is None:
            total = logits.logsumexp(dim=1)
        found = min(k, logits.shape[1])
        best, at = logits.topk(found, dim=1)
        log_probs, ids = best - total[:, None], rows.gather(1, at)
        # Stale slots and candidates that are none have -inf, whatever row stands there.
        nothing = best.isneginf()
        log_probs, ids = log_probs.masked_fill(nothing, -torch.inf), ids.masked_fill(nothing, -1)
        padding = (0, k - found)
        return (
            torch.nn.functional.pad(log_probs, padding, value=-torch.inf),
            torch.nn.functional.pad(ids, padding, value=-1),
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32; its width costs a host read."""
        logits = self._logits(hidden)
        return logits if self._active is None else logits[:, : int(self._active.count)]

    def slot_logits(self, hidden: Tensor, capacity: int) -> Tensor:
        """Return the logits of all slots [N, capacity] float32, -inf in those that hold nothing."""
        logits = self._logits(hidden)
        return torch.nn.functional.pad(logits, (0, capacity - logits.shape[1]), value=-torch.inf)

    def _logits(self, hidden: Tensor) -> Tensor:
        """Return logits by slot [N, K or more] float32, with -inf in stale slots."""
        if self._active is None:
            return self._head.logits(hidden).float()
        if self._product is not None:
            return self._head.finish(self._product(hidden)).float()
        width = self._weight.shape[0]
        if self._reads_count:
            width = min(math.ceil(int(self._active.count) / _WIDTH_STEP) * _WIDTH_STEP, width)
        bias = None if self._bias is None else self._bias[:width]
        logits = self._head.finish(torch.nn.functional.linear(hidden, self._weight[:width], bias)).float()
        stale = torch.arange(width, device=logits.device) >= self._active.count
        return logits.masked_fill_(stale, -torch.inf)

    def _token_ids(self, slots: Tensor) -> Tensor:
        return slots if self._active is None else self._active.token_of[slots].long()


def create(options: NoOptions, context: BuildContext) -> TorchGather:
    """Return the backend."""
    return TorchGather()
