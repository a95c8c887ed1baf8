"""Gather backend ``triton-indexed``: log-softmax and top-k over rows of the full head, read by index."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Admitter, GatherBackend
from specframe.contracts.screen import Candidates
from specframe.registry.components import BuildContext, NoOptions
from specframe_kernels.indexed_head_topk.triton import indexed_head_topk
from specframe_plugins.gathers.triton.admission import TritonAdmitter
from specframe_plugins.gathers.triton.buffers import BuffersByShape
from specframe_plugins.gathers.triton.candidates import score_candidates
from specframe_plugins.gathers.triton.rows import HeadRows


class IndexedGather(GatherBackend):
    """Reads the active rows where they are, once for all N: no copy, no second matrix, scattered reads.

    Source: NanoSpec (2026), the indexed mode that its packed one is compared with.
    """

    capturable = True
    scores_candidates = True

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach to a head and an active set; None stands for all of the vocabulary."""
        if active is None:
            all_ids = torch.arange(head.vocab_size, device=head.weight.device)
            active = ActiveSet.of_pinned(all_ids, head.vocab_size, head.vocab_size)
        self._head = head
        self._rows = HeadRows(head)
        self._active = active
        self._buffers = BuffersByShape(active.capacity, head.weight.device)

    def admitter(self, active: ActiveSet, pinned: int, eviction: Eviction) -> Admitter:
        """Return an admitter that never leaves the device."""
        return TritonAdmitter(active, pinned, eviction, self._rows)

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy nothing: rows are read from the head."""

    def held(self) -> tuple[Tensor, ...]:
        """Return outputs and scratch; there are no packed rows."""
        return self._buffers.held()

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens.

        Both are buffers that the next call with the same N and k writes again.
        """
        rows, active = self._rows, self._active
        out = self._buffers.of(len(hidden), k)
        indexed_head_topk(
            hidden.to(rows.weight.dtype).contiguous(),
            rows.weight,
            rows.bias,
            active.count,
            active.token_of,
            out,
            scale=self._head.scale,
            softcap=self._head.softcap,
        )
        return out.log_probs, out.token_ids

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and rows [N, k] int64 of the best of both.

        Both are buffers that the next call with the same N, k and C writes again.
        """
        out = self._buffers.of(len(hidden), k, candidates.rows.shape[1])
        hidden = hidden.to(self._rows.weight.dtype).contiguous()
        return score_candidates(self._head, self._active, hidden, candidates, out)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32; its width costs a host read."""
        ids = self._active.token_of[: int(self._active.count)].long()
        bias = self._rows.bias
        raw = torch.nn.functional.linear(hidden, self._rows.weight[ids], None if bias is None else bias[ids])
        return self._head.finish(raw).float()


def create(options: NoOptions, context: BuildContext) -> IndexedGather:
    """Return the backend."""
    return IndexedGather()
