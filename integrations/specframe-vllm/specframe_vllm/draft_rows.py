"""The LM head of vLLM's draft model, as specframe reads one: the rows of this rank."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor, nn
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import (
    UnquantizedEmbeddingMethod,
    VocabParallelEmbedding,
)

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.errors import UsageError


@attrs.frozen(slots=True, kw_only=True, eq=False)
class DraftRows:
    """The LM head of a draft model.

    Attributes:
        head: the rows of this rank, and which of the target's tokens each stands for.
        ranks: how many ranks the rows are split over.
        rows_per_rank: rows of the largest rank, padding included.
        total: rows of all ranks, padding aside.
        token_ids: the target's token of each of these [total] int64; None where row i is token i.
    """

    head: OutputHead
    ranks: int
    rows_per_rank: int
    total: int
    token_ids: Tensor | None

    @classmethod
    def of(cls, model: nn.Module, vocab_size: int) -> DraftRows:
        """Return the LM head of a draft model.

        Args:
            model: as its proposer holds it.
            vocab_size: V of the target.

        Raises:
            UsageError: there is no LM head, or none whose rows can be copied.
        """
        lm_head, processor = _lm_head(model), _logits_processor(model)
        shard = lm_head.shard_indices
        first, last = shard.org_vocab_start_index, shard.org_vocab_end_index
        token_ids = _token_ids(model, vocab_size)
        if token_ids is None:
            last = min(last, vocab_size)
        if token_ids is not None:
            row_map = RowMap.of(token_ids[first:last], vocab_size)
        elif (first, last) == (0, vocab_size):
            row_map = RowMap(vocab_size)
        else:
            row_map = RowMap.of(torch.arange(first, last, device=lm_head.weight.device), vocab_size)
        bias = getattr(lm_head, "bias", None)
        # vLLM caps before it scales, specframe scales before it caps.
        scale, cap = float(processor.scale), processor.soft_cap
        head = OutputHead(
            lm_head.weight.detach()[: last - first],
            None if bias is None else bias.detach()[: last - first],
            scale,
            None if cap is None else float(cap) * scale,
            row_map,
        )
        return cls(
            head=head,
            ranks=lm_head.tp_size,
            rows_per_rank=lm_head.num_embeddings_per_partition,
            total=lm_head.org_vocab_size,
            token_ids=token_ids,
        )


def _lm_head(model: nn.Module) -> Any:
    """Return the LM head; that of MTP layers is in each of them, and must be one for all."""
    heads = _found(model, "lm_head", VocabParallelEmbedding)
    if not heads:
        raise UsageError(
            f"the draft model {type(model).__name__} has no LM head that vLLM splits by rows; set strategy "
            "to full"
        )
    if len({head.weight.data_ptr() for head in heads}) > 1:
        raise UsageError(
            f"the draft model {type(model).__name__} has {len(heads)} LM heads; allowed: one for all layers"
        )
    head: Any = heads[0]
    if not isinstance(head.quant_method, (UnquantizedEmbeddingMethod, UnquantizedLinearMethod)):
        raise UsageError(
            f"the LM head of the draft model is quantised ({type(head.quant_method).__name__}), and its rows "
            "cannot be copied; allowed: an LM head of float weights, or strategy full"
        )
    return head


def _logits_processor(model: nn.Module) -> Any:
    found = _found(model, "logits_processor", LogitsProcessor)
    if not found:
        raise UsageError(
            f"the draft model {type(model).__name__} has no logits processor; set strategy to full"
        )
    return found[0]


def _found(model: nn.Module, name: str, kind: type[nn.Module]) -> list[Any]:
    """Return the modules of a kind that a model holds under a name: its own, or those of its MTP layers."""
    own = getattr(model, name, None)
    if isinstance(own, kind):
        return [own]
    ends = (name, "head") if name == "lm_head" else (name,)
    return [
        module
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, kind) and path.rsplit(".", 1)[-1] in ends
    ]


def _token_ids(model: nn.Module, vocab_size: int) -> Tensor | None:
    """Return the target's token of each row of an LM head with a vocabulary of its own, or None.

    ``d2t`` of EAGLE-3 holds offsets: row i is token i + d2t[i].
    """
    offsets = getattr(model, "draft_id_to_target_id", None)
    if offsets is None:
        return None
    offsets = offsets.detach().long()
    ids: Tensor = torch.arange(len(offsets), device=offsets.device) + offsets
    if not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size or len(torch.unique(ids)) < len(ids):
        raise UsageError(
            f"d2t of the draft model names tokens twice or beyond the target's vocabulary of {vocab_size}"
        )
    return ids
