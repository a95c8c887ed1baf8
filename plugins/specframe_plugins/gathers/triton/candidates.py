"""What both backends do with the candidates of a screen: rows of the full head, read where they are."""

from __future__ import annotations

from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import Candidates
from specframe_kernels.candidate_head_topk.triton import candidate_head_topk
from specframe_kernels.head_topk.buffers import TopKBuffers


def score_candidates(
    head: OutputHead,
    active: ActiveSet,
    hidden: Tensor,
    candidates: Candidates,
    out: TopKBuffers,
    *,
    packed: tuple[Tensor, Tensor | None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [N, k] float32 and rows [N, k] int64 of the best of both; they are ``out``'s.

    Args:
        head: whose rows are scored.
        active: may have no slots.
        hidden: [N, H], contiguous, in the head's dtype.
        candidates: of each state.
        out: buffers for N, k, the active set and C.
        packed: copies of the active rows and their bias; None to read them from the head.
    """
    log_total = candidates.log_total
    candidate_head_topk(
        hidden,
        head.weight.detach(),
        None if head.bias is None else head.bias.detach(),
        candidates.rows.contiguous(),
        out,
        count=active.count,
        slot_of=active.slot_of,
        token_of=active.token_of,
        packed=packed,
        log_sums=None if log_total is None else log_total.float().contiguous(),
        scale=head.scale,
        softcap=head.softcap,
    )
    return out.log_probs, out.token_ids
