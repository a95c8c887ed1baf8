"""Which models can be targets, by their configs; nothing is loaded."""

from __future__ import annotations

from typing import Any

from specframe.errors import UsageError

FULL_ATTENTION, SLIDING_ATTENTION = "full_attention", "sliding_attention"

NEEDS = (
    "specframe needs a decoder-only model whose attention takes masks and position ids, over a cache that "
    "can be rolled back to any token"
)


def check_supported(config: Any, name: str) -> None:
    """Raise ``UsageError`` for a model that draft trees cannot be read by, with the reason.

    Args:
        config: of transformers.
        name: how users call the model.
    """
    reason = _why_not(config)
    if reason is not None:
        raise UsageError(f"{name} ({config.model_type}) {reason}; {NEEDS}")


def attention_of(config: Any) -> str:
    """Return which of transformers' attentions takes masks of any form: sdpa, where the model has it."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    # sdpa has no soft cap on the scores.
    if getattr(config.get_text_config(), "attn_logit_softcapping", None):
        return "eager"
    classes: Any = MODEL_FOR_CAUSAL_LM_MAPPING  # untyped
    return "sdpa" if getattr(classes[type(config)], "_supports_sdpa", False) else "eager"


def has_window_of_one(config: Any) -> bool:
    """Return whether layers of a text config see one token alone.

    Of none before it, transformers' cache keeps all: ``[-0:]``.
    """
    layer_types = getattr(config, "layer_types", None)
    slides = not layer_types or SLIDING_ATTENTION in layer_types
    return slides and getattr(config, "sliding_window", None) == 1


def longrope_limits(config: Any) -> set[int]:
    """Return after how many tokens a text config's rotations become others (longrope); empty for never."""
    declared = getattr(config, "rope_parameters", None) or {}
    kinds = [declared, *(value for value in declared.values() if isinstance(value, dict))]
    limits = (
        kind.get("original_max_position_embeddings")
        or getattr(config, "original_max_position_embeddings", None)
        for kind in kinds
        if kind.get("rope_type") == "longrope"
    )
    return {int(limit) for limit in limits if limit}


def _why_not(config: Any) -> str | None:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if getattr(config, "is_encoder_decoder", False):
        return "is an encoder-decoder model"
    classes: Any = MODEL_FOR_CAUSAL_LM_MAPPING  # untyped
    if type(config) not in classes:
        return "has no causal LM in this version of transformers"
    text = config.get_text_config()
    layer_types = set(getattr(text, "layer_types", None) or ())
    strange = sorted(layer_types - {FULL_ATTENTION, SLIDING_ATTENTION})
    if "chunked_attention" in strange:
        return "has layers of type 'chunked_attention', whose chunks are counted in the cache"
    if strange and len(strange) < len(layer_types):
        return f"has attention that could be rolled back, and layers of type {strange[0]!r} that cannot"
    if strange:
        return f"has layers of type {strange[0]!r}, whose state cannot be rolled back"
    if getattr(classes[type(config)], "_is_stateful", False):
        return "keeps a state that cannot be rolled back"
    if has_window_of_one(text):
        return "has a sliding window of one token, beyond which the cache of its own generate goes"
    if len(limits := longrope_limits(text)) > 1:
        lengths = " and ".join(f"{limit:,}" for limit in sorted(limits))
        return f"has layers whose rotations change after different lengths, {lengths} tokens (longrope)"
    if getattr(text, "alibi", False):
        return "takes positions from the cache (ALiBi)"
    if "local" in (getattr(text, "attention_layers", None) or ()):
        return "has layers of local attention, whose windows are counted in the cache"
    return None
