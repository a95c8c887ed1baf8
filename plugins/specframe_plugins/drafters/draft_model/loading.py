"""Getting the language model that drafts, and an LM head whose rows are the target's token ids."""

from __future__ import annotations

import logging

import attrs
import torch

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.model.language_model import LanguageModel
from specframe.model.loading import LoadedModel, load_pretrained
from specframe.model.target import Target
from specframe_plugins.drafters.draft_model.tokens import check_tokenizers
from specframe_plugins.drafters.draft_model.truncated import first_layers

_log = logging.getLogger(__name__)


def load(spec: str | None, layers: int | None, target: Target) -> LanguageModel:
    """Return the model that drafts for a target, its LM head in the target's token ids.

    Args:
        spec: demo model, hub id, directory or ``.gguf`` file; None for the target itself.
        layers: how many of its first layers draft; None for all.
        target: whose device and dtype it gets.

    Raises:
        UsageError: it has fewer layers.
        CheckpointError: it cannot be loaded, or its tokenizer is not the target's.
    """
    loaded = LoadedModel(target.model, target.tokenizer, target.name)
    if spec is not None:
        loaded = load_pretrained(spec, target.dtype, target.device)
    if layers is not None:
        first = first_layers(loaded.model, layers, loaded.name)
        loaded = LoadedModel(first, loaded.tokenizer, f"{loaded.name} (first {layers} layers)")
    language_model = LanguageModel(loaded)
    if spec is None:
        language_model.output_head = target.output_head
        return language_model
    check_tokenizers(language_model, target)
    if language_model.max_positions < target.max_positions:
        _log.warning(
            "draft model %s has %d positions and %s has %d: it drafts nothing beyond its own",
            loaded.name,
            language_model.max_positions,
            target.name,
            target.max_positions,
        )
    head = in_target_ids(language_model.output_head, target.vocab_size)
    language_model.output_head = head if target.output_head.product is None else head.packed()
    return language_model


def in_target_ids(head: OutputHead, vocab_size: int) -> OutputHead:
    """Return an LM head without rows that the target has no id for.

    Models with one tokenizer may pad their vocabularies to different sizes. An LM head with
    fewer rows than the target has ids gets a row map.

    Args:
        head: of the draft model.
        vocab_size: V of the target.
    """
    if head.vocab_size < vocab_size:
        token_ids = torch.arange(head.vocab_size, device=head.weight.device)
        return attrs.evolve(head, row_map=RowMap.of(token_ids, vocab_size))
    bias = None if head.bias is None else head.bias[:vocab_size]
    return attrs.evolve(head, weight=head.weight[:vocab_size], bias=bias, row_map=RowMap(vocab_size))
