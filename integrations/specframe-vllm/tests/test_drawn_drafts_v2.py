"""Model runner V2 draws drafts from, and tests them against, the logits over the active set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from vllm.v1.worker.gpu.spec_decode import speculator

from specframe.contracts.lm_head import OutputHead
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather
from specframe_vllm.active_head import ActiveHead
from specframe_vllm.active_sets import SharedSet
from specframe_vllm.draft_rows import DraftRows

VOCAB, HIDDEN = 64, 8
HEAD = OutputHead(torch.randn(VOCAB, HIDDEN, generator=torch.Generator().manual_seed(0)))
STATES = torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(1))
ACTIVE = [0, 5, 9, 33]


def test_drafts_are_drawn_from_the_logits_of_the_active_set(monkeypatch: pytest.MonkeyPatch) -> None:
    store = VocabularyStore(HEAD, TorchGather(), capacity=20, pinned_ids=torch.tensor([0]))
    store.admit(torch.tensor(ACTIVE[1:]))
    rows = DraftRows(head=HEAD, ranks=1, rows_per_rank=VOCAB, total=VOCAB, token_ids=None)
    handed_over: list[Tensor] = []

    def draw(logits: Tensor, *_: Any, **__: Any) -> Tensor:
        handed_over.append(logits)
        return logits.argmax(dim=-1)

    monkeypatch.setattr(speculator, "gumbel_sample", draw)
    kind: Any = speculator.DraftModelSpeculator
    drafter = SimpleNamespace(
        model=ActiveHead(rows, SharedSet(store)),
        use_local_argmax_reduction=True,  # as the plugin sets it, for drafts that are not drawn
        draft_watermarker=None,
        use_fp64_gumbel=False,
        _maybe_predict_acceptance=lambda *_: None,
    )
    drafter.compute_draft_logits = kind.compute_draft_logits.__get__(drafter)
    nothing = torch.zeros(5, dtype=torch.int64)
    kind.sample_draft(drafter, STATES, nothing, nothing, nothing, nothing, nothing, torch.zeros(5, 1, VOCAB))
    [logits] = handed_over
    expected = torch.full((5, VOCAB), -torch.inf)
    expected[:, ACTIVE] = (STATES @ HEAD.weight.T)[:, ACTIVE]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
