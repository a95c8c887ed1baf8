"""Tiny random checkpoints with a multi-token-prediction layer, in each layout, and what the layer is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors.torch import load_file, save_file
from tiny_models import VOCAB_SIZE, tiny_tokenizer
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Glm4MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
)

from specframe.testing.tiny import EOS_ID

LAYERS, HIDDEN = 2, 32

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": EOS_ID,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
_EXPERTS = {"moe_intermediate_size": 24, "num_experts_per_tok": 2}
_SHARED = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

# Config, whether the layer is one more of the decoder's, and whether trees can be read by the target.
KINDS: dict[str, tuple[Any, dict[str, Any], bool]] = {
    "deepseek-v3": (
        DeepseekV3Config,
        {
            **_EXPERTS,
            **_SHARED,
            "num_key_value_heads": 4,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
        },
        True,
    ),
    "glm-4.5": (Glm4MoeConfig, {**_EXPERTS, **_SHARED, "head_dim": 8, "use_qk_norm": True}, True),
    "qwen3-next": (
        Qwen3NextConfig,
        {
            **_EXPERTS,
            **_LINEAR,
            "head_dim": 8,
            "num_experts": 4,
            "shared_expert_intermediate_size": 24,
            "layer_types": ["linear_attention", "full_attention", "full_attention"],
        },
        False,
    ),
    "qwen3-moe": (Qwen3MoeConfig, {**_EXPERTS, "head_dim": 8, "num_experts": 4}, False),
    "qwen3": (Qwen3Config, {"head_dim": 8}, False),
}


@attrs.frozen(eq=False)
class PlainMtp:
    """The layer as transformers has it, one of a model that is one layer longer."""

    block: Any
    rotary: Any
    enorm: Any
    hnorm: Any
    norm: Any
    projection: Tensor

    def predict(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Return what each of n pairs predicts [n, H], nothing kept from before."""
        n = len(embeddings)
        joined = torch.cat((self.enorm(embeddings), self.hnorm(features)), dim=-1) @ self.projection.T
        positions = torch.arange(n)[None]
        mask = torch.full((n, n), -torch.inf).triu(1)[None, None]
        out = self.block(
            joined[None],
            attention_mask=mask,
            position_ids=positions,
            position_embeddings=self.rotary(joined[None], positions),
        )
        predicted: Tensor = self.norm(out)[0]
        return predicted


def save_with_mtp(folder: Path, kind: str) -> PlainMtp:
    """Write a checkpoint of a kind, tokenizer and all, and return its MTP layer."""
    make, fields, as_a_layer = KINDS[kind]
    torch.manual_seed(0)
    config = make(**{**_COMMON, **fields, "num_hidden_layers": LAYERS + 1})
    longer = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for parameter in longer.parameters():  # norms of ones would hide which one is read
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    longer.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["num_hidden_layers"] = LAYERS
    for name in ("layer_types", "mlp_layer_types"):
        if settings.get(name):
            settings[name] = settings[name][:LAYERS]
    (folder / "config.json").write_text(json.dumps(settings))

    norm = type(longer.model.norm)
    plain = PlainMtp(
        longer.model.layers[LAYERS],
        longer.model.rotary_emb,
        *(norm(HIDDEN, eps=config.rms_norm_eps) for _ in range(3)),
        torch.randn(HIDDEN, 2 * HIDDEN) * 0.3,
    )
    for scaled in (plain.enorm, plain.hnorm, plain.norm):
        nn.init.uniform_(scaled.weight, 0.5, 1.5)
    prefix = f"model.layers.{LAYERS}."
    own = {
        "enorm.weight": plain.enorm.weight,
        "hnorm.weight": plain.hnorm.weight,
        "eh_proj.weight": plain.projection,
        "shared_head.norm.weight": plain.norm.weight,
        "shared_head.head.weight": longer.lm_head.weight,
        "embed_tokens.weight": longer.model.embed_tokens.weight,
    }
    tensors = load_file(folder / "model.safetensors")
    if as_a_layer:
        tensors |= {prefix + name: tensor.detach().clone() for name, tensor in own.items()}
    else:
        for name in [name for name in tensors if name.startswith(prefix)]:
            tensors[name.replace(prefix, "mtp.layers.0.")] = tensors.pop(name)
        renamed = {
            "mtp.pre_fc_norm_embedding.weight": plain.enorm.weight,
            "mtp.pre_fc_norm_hidden.weight": plain.hnorm.weight,
            "mtp.fc.weight": plain.projection,
            "mtp.norm.weight": plain.norm.weight,
        }
        tensors |= {name: tensor.detach().clone() for name, tensor in renamed.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    plain.block.requires_grad_(False)
    return plain
