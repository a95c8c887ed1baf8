"""LM heads whose rows cannot be copied are refused in one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import (
    UnquantizedEmbeddingMethod,
    VocabParallelEmbedding,
)

from specframe.errors import UsageError
from specframe_vllm.draft_rows import DraftRows

VOCAB, HIDDEN = 16, 4


def lm_head(quant_method: Any = None, rows: int = VOCAB) -> nn.Module:
    """Return an LM head of one rank, made without the process groups of vLLM."""
    head: Any = VocabParallelEmbedding.__new__(VocabParallelEmbedding)
    nn.Module.__init__(head)
    head.weight = nn.Parameter(torch.randn(rows, HIDDEN))
    head.quant_method = quant_method or UnquantizedEmbeddingMethod()
    head.shard_indices = SimpleNamespace(org_vocab_start_index=0, org_vocab_end_index=rows)
    head.tp_size, head.num_embeddings_per_partition, head.org_vocab_size = 1, rows, rows
    return head


def model(*heads: nn.Module, processor: bool = True, d2t: list[int] | None = None) -> nn.Module:
    """Return a draft model; one LM head is its own, several belong to its MTP layers."""
    made = nn.Module()
    if len(heads) == 1:
        made.lm_head = heads[0]
    else:
        made.layers = nn.ModuleList(nn.ModuleDict({"head": head}) for head in heads)
    if processor:
        wrapped: Any = LogitsProcessor.__new__(LogitsProcessor)
        nn.Module.__init__(wrapped)
        wrapped.scale, wrapped.soft_cap = 1.0, None
        made.logits_processor = wrapped
    if d2t is not None:
        made.draft_id_to_target_id = nn.Parameter(torch.tensor(d2t), requires_grad=False)
    return made


class Quantised:
    """A way to multiply by something other than rows of floats."""


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        (lambda: model(), "the draft model Module has no LM head that vLLM splits by rows"),
        (lambda: model(lm_head(Quantised())), r"is quantised \(Quantised\), and its rows cannot be copied"),
        (lambda: model(lm_head(), lm_head()), "has 2 LM heads; allowed: one for all layers"),
        (lambda: model(lm_head(), processor=False), "the draft model Module has no logits processor"),
        (lambda: model(lm_head(rows=2), d2t=[0, -1]), "d2t of the draft model names tokens twice"),
        (lambda: model(lm_head(rows=2), d2t=[0, VOCAB]), "or beyond the target's vocabulary of 16"),
    ],
    ids=[
        "no LM head",
        "a quantised LM head",
        "an LM head for each MTP layer",
        "no logits processor",
        "d2t that names a token twice",
        "d2t beyond the vocabulary",
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(draft: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        DraftRows.of(draft(), VOCAB)
    assert "\n" not in str(error.value)


def test_mtp_layers_may_share_one_lm_head() -> None:
    head = lm_head()
    assert DraftRows.of(model(head, head), VOCAB).head.weight.data_ptr() == head.weight.data_ptr()
