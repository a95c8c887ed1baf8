"""Tiny models of everything that the lean forward knows."""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import MODEL_TYPES, tiny_model
from transformers import MistralConfig, MistralForCausalLM

VARIANTS: dict[str, dict[str, Any]] = {
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "llama with linear rope": {
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}
    },
    "llama with llama3 rope": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 100.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "llama with yarn rope": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 100.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "llama with one key head": {"num_key_value_heads": 1},
    "llama with tied embeddings": {"tie_word_embeddings": True},
}


def mistral() -> Any:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=101,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=8,
        initializer_range=0.3,
        attn_implementation="sdpa",
    )
    return MistralForCausalLM(config).eval()


def model_of(name: str) -> Any:
    if name == "mistral":
        model = mistral()
    else:
        model = tiny_model(name) if name in MODEL_TYPES else tiny_model("llama", **VARIANTS[name])
    torch.manual_seed(1)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("bias") or "norm" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.requires_grad_(False)
