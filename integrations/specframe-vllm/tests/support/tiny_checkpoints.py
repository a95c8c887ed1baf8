"""Random models small enough to load in seconds, in the formats that vLLM reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from transformers import PreTrainedTokenizerFast

VOCAB_SIZE = 1024
EOS = 2
_HIDDEN, _INNER, _HEADS, _KV_HEADS, _HEAD, _LAYERS = 256, 256, 4, 2, 64, 7
_CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": _HIDDEN,
    "intermediate_size": _INNER,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": _KV_HEADS,
    "head_dim": _HEAD,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "vocab_size": VOCAB_SIZE,
    "bos_token_id": 1,
    "eos_token_id": EOS,
    "pad_token_id": EOS,
}


def _random(source: torch.Generator, *shape: int, scale: float = 0.06) -> Tensor:
    return torch.randn(*shape, generator=source) * scale


def _layer(source: torch.Generator, inputs: int) -> dict[str, Tensor]:
    """Return the weights of one decoder layer whose attention reads ``inputs`` features."""
    return {
        "self_attn.q_proj.weight": _random(source, _HEADS * _HEAD, inputs),
        "self_attn.k_proj.weight": _random(source, _KV_HEADS * _HEAD, inputs),
        "self_attn.v_proj.weight": _random(source, _KV_HEADS * _HEAD, inputs),
        "self_attn.o_proj.weight": _random(source, _HIDDEN, _HEADS * _HEAD),
        "mlp.gate_proj.weight": _random(source, _INNER, _HIDDEN),
        "mlp.up_proj.weight": _random(source, _INNER, _HIDDEN),
        "mlp.down_proj.weight": _random(source, _HIDDEN, _INNER),
        "input_layernorm.weight": torch.ones(_HIDDEN),
        "post_attention_layernorm.weight": torch.ones(_HIDDEN),
    }


def save_target(folder: Path) -> Path:
    """Write a Llama of seven layers, as few as let EAGLE-3 see three of them, with a tokenizer of words."""
    folder.mkdir(parents=True)
    source = torch.Generator().manual_seed(1)
    weights = {
        "model.embed_tokens.weight": _random(source, VOCAB_SIZE, _HIDDEN, scale=0.3),
        "model.norm.weight": torch.ones(_HIDDEN),
        "lm_head.weight": _random(source, VOCAB_SIZE, _HIDDEN, scale=0.3),
    }
    for layer in range(_LAYERS):
        weights |= {f"model.layers.{layer}.{name}": w for name, w in _layer(source, _HIDDEN).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _save_config(folder, architectures=["LlamaForCausalLM"], num_hidden_layers=_LAYERS)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    """Write a tokenizer with a word for each token."""
    words = {f"word{i}": i for i in range(VOCAB_SIZE)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="word0"))
    tokenizer.pre_tokenizer = Whitespace()
    kind: Any = PreTrainedTokenizerFast
    kind(
        tokenizer_object=tokenizer, bos_token="word1", eos_token=f"word{EOS}", unk_token="word0"
    ).save_pretrained(folder)


def save_eagle3(folder: Path, target: Path) -> Path:
    """Write an EAGLE-3 head for a target of ``save_target``, with rows for every second token."""
    folder.mkdir(parents=True)
    source = torch.Generator().manual_seed(2)
    ids = torch.arange(0, VOCAB_SIZE, 2)
    known = torch.zeros(VOCAB_SIZE, dtype=torch.bool)
    known[ids] = True
    weights = {f"midlayer.{name}": w for name, w in _layer(source, 2 * _HIDDEN).items()}
    weights |= {
        "midlayer.hidden_norm.weight": torch.ones(_HIDDEN),
        "norm.weight": torch.ones(_HIDDEN),
        "fc.weight": _random(source, _HIDDEN, 3 * _HIDDEN),
        "lm_head.weight": load_file(target / "model.safetensors")["lm_head.weight"][ids].clone(),
        "d2t": ids - torch.arange(len(ids)),
        "t2d": known,
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _save_config(
        folder, architectures=["LlamaForCausalLMEagle3"], num_hidden_layers=1, draft_vocab_size=len(ids)
    )
    return folder


def save_mimo(folder: Path, target: Path) -> Path:
    """Write a target of ``save_target`` as a MiMo: with biases, and an MTP layer among its weights."""
    folder.mkdir(parents=True)
    source = torch.Generator().manual_seed(3)
    weights = load_file(target / "model.safetensors")
    mtp = "model.mtp_layers.0"
    weights |= {f"{mtp}.{name}": w for name, w in _layer(source, _HIDDEN).items()}
    layers = [mtp, *(f"model.layers.{layer}" for layer in range(_LAYERS))]
    for layer in layers:
        for name, heads in (("q", _HEADS), ("k", _KV_HEADS), ("v", _KV_HEADS)):
            weights[f"{layer}.self_attn.{name}_proj.bias"] = torch.zeros(heads * _HEAD)
    # Half the embedding, half the feature: drafts are often what the target says.
    half = torch.eye(_HIDDEN) / 2
    weights |= {
        f"{mtp}.input_proj.weight": torch.cat([half, half], dim=1),
        f"{mtp}.token_layernorm.weight": torch.ones(_HIDDEN),
        f"{mtp}.hidden_layernorm.weight": torch.ones(_HIDDEN),
        f"{mtp}.final_layernorm.weight": torch.ones(_HIDDEN),
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    # MiMo's own config is code of its hub repository; its fields are Qwen2's.
    _save_config(
        folder,
        model_type="qwen2",
        architectures=["MiMoForCausalLM"],
        num_hidden_layers=_LAYERS,
        num_nextn_predict_layers=1,
    )
    for file in target.glob("*token*.json"):
        shutil.copy(file, folder)
    return folder


def _save_config(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps(_CONFIG | changes, indent=2), encoding="utf-8")
