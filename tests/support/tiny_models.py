"""Tiny random models of every supported type."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
)

from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.testing.tiny import TINY_CONFIG, VOCAB_SIZE, tiny_tokenizer

_CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, {}),
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {"head_dim": 16}),
    "gemma3": (
        Gemma3TextConfig,
        {
            "head_dim": 16,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "query_pre_attn_scalar": 16,
        },
    ),
}
MODEL_TYPES = tuple(_CONFIGS)


def tiny_model(
    model_type: str = "llama", *, vocab_size: int = VOCAB_SIZE, seed: int = 0, **overrides: Any
) -> Any:
    """Return a random model with weights large enough that its greedy text does not collapse."""
    config_class, extra = _CONFIGS[model_type]
    config = config_class(**{"vocab_size": vocab_size, **TINY_CONFIG, **extra, **overrides})
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def tiny_target(model_type: str = "llama", **overrides: Any) -> Target:
    model = tiny_model(model_type, **overrides).requires_grad_(False)  # as loaded ones are
    return Target(LoadedModel(model, tiny_tokenizer(model.config.vocab_size), f"tiny-{model_type}"))


def reference_greedy(model: Any, prompt_ids: torch.Tensor, max_new_tokens: int) -> list[int]:
    """Return what transformers generates greedily, prompt excluded."""
    output = model.generate(
        prompt_ids[None],
        attention_mask=torch.ones_like(prompt_ids)[None],
        do_sample=False,
        max_new_tokens=max_new_tokens,
    )
    return output[0, len(prompt_ids) :].tolist()  # type: ignore[no-any-return]
