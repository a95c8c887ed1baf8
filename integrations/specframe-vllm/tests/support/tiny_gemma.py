"""A random Gemma 3 and an EAGLE-2 head for it: scaled embeddings, sliding windows, tied embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_checkpoints import EOS, VOCAB_SIZE, save_tokenizer
from transformers import AutoModelForCausalLM, Gemma3TextConfig

HIDDEN, WINDOW = 128, 16
_HEAD_WIDTH = 256  # of the published models
_SLIDING, _FULL = "sliding_attention", "full_attention"


def save_gemma(folder: Path) -> Path:
    """Write the target, with a tokenizer of words; its texts go beyond the window of its sliding layers."""
    torch.manual_seed(5)
    config = Gemma3TextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=HIDDEN,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=_HEAD_WIDTH,
        query_pre_attn_scalar=_HEAD_WIDTH,
        layer_types=[_SLIDING, _SLIDING, _FULL, _SLIDING],
        sliding_window=WINDOW,
        max_position_embeddings=512,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    model: Any = AutoModelForCausalLM.from_config(config)
    # Less would be more of the same token, since the LM head is the embedding.
    model.model.embed_tokens.weight.data.mul_(0.1)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_head(folder: Path) -> Path:
    """Write a head in the public layout, which has no norms on what it reads.

    It drafts the last token once more, as long as the embedding is not drowned by what it makes of features.
    """
    folder.mkdir(parents=True)
    source = torch.Generator().manual_seed(6)

    def weight(*shape: int, scale: float = 0.05) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=source)

    queries, keys = 2 * _HEAD_WIDTH, _HEAD_WIDTH
    weights = {
        "fc.weight": torch.cat((torch.eye(HIDDEN), weight(HIDDEN, HIDDEN, scale=0.01)), dim=1),
        "layers.0.self_attn.q_proj.weight": weight(queries, HIDDEN),
        "layers.0.self_attn.k_proj.weight": weight(keys, HIDDEN),
        "layers.0.self_attn.v_proj.weight": weight(keys, HIDDEN),
        "layers.0.self_attn.o_proj.weight": weight(HIDDEN, queries),
        "layers.0.mlp.gate_proj.weight": weight(128, HIDDEN),
        "layers.0.mlp.up_proj.weight": weight(128, HIDDEN),
        "layers.0.mlp.down_proj.weight": weight(HIDDEN, 128),
        "layers.0.post_attention_layernorm.weight": torch.ones(HIDDEN),
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLMEagle"],
        "model_type": "llama",
        "num_hidden_layers": 1,
        "vocab_size": VOCAB_SIZE,
        "hidden_size": HIDDEN,
        "intermediate_size": 128,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": _HEAD_WIDTH,
        "max_position_embeddings": 512,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return folder
