"""Getting the language model that drafts, and an LM head whose rows are the target's token ids."""

from __future__ import annotations

import logging

import attrs
import torch

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.errors import CheckpointError
from specframe.model.language_model import LanguageModel
from specframe.model.loading import LoadedModel, load_pretrained
from specframe.model.target import Target
from specframe_plugins.drafters.components.draft_model import TokensKind
from specframe_plugins.drafters.draft_model.tokens import difference
from specframe_plugins.drafters.draft_model.translation import Translation
from specframe_plugins.drafters.draft_model.truncated import first_layers

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True, eq=False)
class DraftModel:
    """A language model that drafts.

    Attributes:
        model: its LM head is in the target's token ids, but for ``tokens="strings"``.
        translation: between its tokens and the target's, where these are not the same.
    """

    model: LanguageModel
    translation: Translation | None = None


def load(spec: str | None, layers: int | None, target: Target, tokens: TokensKind = "auto") -> DraftModel:
    """Return the model that drafts for a target.

    Args:
        spec: demo model, hub id, directory or ``.gguf`` file; None for the target itself.
        layers: how many of its first layers draft; None for all.
        target: whose device and dtype it gets.
        tokens: what it drafts; ``auto`` takes what the two tokenizers have in common where they differ.

    Raises:
        UsageError: it has fewer layers.
        CheckpointError: it cannot be loaded, or its tokenizer does not go with the target's.
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
        return DraftModel(language_model)
    translation = _translation(language_model, target, tokens)
    if language_model.max_positions < target.max_positions:
        _log.warning(
            "draft model %s has %d positions and %s has %d: it drafts nothing beyond its own",
            loaded.name,
            language_model.max_positions,
            target.name,
            target.max_positions,
        )
    head = language_model.output_head
    if translation is None:
        head = in_target_ids(head, target.vocab_size)
    elif tokens != "strings":
        head = of_shared_tokens(head, translation, target.vocab_size)
        _log.warning("%s", translation)
    language_model.output_head = head if target.output_head.product is None else head.packed()
    return DraftModel(language_model, translation)


def _translation(draft_model: LanguageModel, target: Target, tokens: TokensKind) -> Translation | None:
    """Return what goes between two tokenizers; None where they are the same.

    Raises:
        CheckpointError: they are to be the same and are not, or have too little in common.
    """
    if tokens in ("auto", "same"):
        different = difference(draft_model, target)
        if different is None:
            return None
        if tokens == "same":
            raise CheckpointError(
                f"draft model {draft_model.name} has another tokenizer than {target.name}: {different}; "
                "allowed: a model with the target's tokenizer, or -o drafter.tokens=intersection|strings"
            )
    translation = Translation(draft_model, target)
    if tokens != "strings":
        translation.check_share()
    return translation


def of_shared_tokens(head: OutputHead, translation: Translation, vocab_size: int) -> OutputHead:
    """Return the rows of an LM head whose tokens the target has too.

    Args:
        head: of the draft model.
        translation: between its tokens and the target's.
        vocab_size: V of the target.
    """
    bias = None if head.bias is None else head.bias[translation.own_ids]
    row_map = RowMap.of(translation.token_ids, vocab_size)
    return attrs.evolve(head, weight=head.rows(translation.own_ids), bias=bias, row_map=row_map)


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
