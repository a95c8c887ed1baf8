"""Gather backend ``triton``: rows packed beside other work, then log-softmax and top-k in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Admitter, GatherBackend
from specframe.contracts.screen import Candidates
from specframe.registry.components import BuildContext, NoOptions
from specframe_kernels.sparse_head_topk.triton import sparse_head_logits, sparse_head_topk
from specframe_plugins.gathers.triton.admission import TritonAdmitter
from specframe_plugins.gathers.triton.buffers import BuffersByShape
from specframe_plugins.gathers.triton.candidates import score_candidates
from specframe_plugins.gathers.triton.rows import HeadRows, PackedRows, Rows


class PackedGather(GatherBackend):
    """Multiplies by a packed copy of the active rows; only the kernels know how many there are.

    Source: NanoSpec (2026), packed vocabulary with asynchronous gathering.
    """

    capturable = True
    scores_candidates = True

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach to a head and an active set, with room for ``capacity`` rows; None uses the head itself."""
        self._head = head
        self._rows: Rows = HeadRows(head) if active is None else PackedRows(head, active.capacity)
        self._buffers = BuffersByShape(len(self._rows.weight), head.weight.device)
        self._active = active
        self._token_of = None if active is None else active.token_of
        self._count = (
            torch.tensor(head.vocab_size, device=head.weight.device) if active is None else active.count
        )

    def admitter(self, active: ActiveSet, pinned: int, eviction: Eviction) -> Admitter:
        """Return an admitter that never leaves the device."""
        return TritonAdmitter(active, pinned, eviction, self._rows)

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Start to copy the head rows of ``ids`` [n] into ``slots`` [n]."""
        count = torch.full((), len(slots), dtype=torch.int32, device=slots.device)
        self._rows.fetch(slots.int(), ids.int(), count)

    def join(self) -> None:
        """Let what is launched next wait for the copies."""
        self._rows.join()

    def held(self) -> tuple[Tensor, ...]:
        """Return the packed rows, and outputs and scratch."""
        bias = () if self._rows.bias is None else (self._rows.bias,)
        return (self._rows.weight, *bias, *self._buffers.held())

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens.

        Both are buffers that the next call with the same N and k writes again.
        """
        rows = self._rows
        rows.join()
        out = self._buffers.of(len(hidden), k)
        sparse_head_topk(
            self._input(hidden),
            rows.weight,
            rows.bias,
            self._count,
            self._token_of,
            out,
            scale=self._head.scale,
            softcap=self._head.softcap,
        )
        return out.log_probs, out.token_ids

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and rows [N, k] int64 of the best of both.

        Both are buffers that the next call with the same N, k and C writes again.
        """
        assert self._active is not None
        rows = self._rows
        rows.join()
        return score_candidates(
            self._head,
            self._active,
            self._input(hidden),
            candidates,
            self._buffers.of(len(hidden), k, candidates.rows.shape[1]),
            packed=(rows.weight, rows.bias),
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32; its width costs a host read."""
        return self.slot_logits(hidden, len(self._rows.weight))[:, : int(self._count)]

    def slot_logits(self, hidden: Tensor, capacity: int) -> Tensor:
        """Return the logits of all slots [N, capacity] float32, -inf in those that hold nothing."""
        rows = self._rows
        rows.join()
        out = torch.empty(len(hidden), capacity, device=hidden.device)
        sparse_head_logits(
            self._input(hidden),
            rows.weight,
            rows.bias,
            self._count,
            out,
            scale=self._head.scale,
            softcap=self._head.softcap,
        )
        return out

    def _input(self, hidden: Tensor) -> Tensor:
        return hidden.to(self._rows.weight.dtype).contiguous()


def create(options: NoOptions, context: BuildContext) -> PackedGather:
    """Return the backend."""
    return PackedGather()
