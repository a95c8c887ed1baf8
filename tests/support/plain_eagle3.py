"""EAGLE-3 in plain steps, one pair at a time, from tensors and config as published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def log_probs(
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    embedding: Tensor,
    tokens: list[int],
    features: Tensor,
    path: list[int],
) -> Tensor:
    """Return what the head says of its rows after tokens and a drafted path [rows].

    Args:
        tensors: of the head, its layer called ``midlayer``; its own LM head among them.
        settings: its config, flat.
        embedding: [V, H].
        tokens: T + 1.
        features: of the first T tokens [T, F].
        path: token ids that were drafted after them.
    """
    eps = settings["rms_norm_eps"]
    heads, groups = settings["num_attention_heads"], settings["num_key_value_heads"]
    head_dim = settings.get("head_dim", settings["hidden_size"] // heads)
    window = settings["sliding_window"] if settings.get("layer_types") == ["sliding_attention"] else 10**9
    fused = [fuse(tensors, settings, feature) for feature in features]
    keys: list[Tensor] = []
    values: list[Tensor] = []
    out = fused[0]
    for position, token in enumerate([*tokens[1:], *path]):
        before = fused[position] if position < len(fused) else out
        normed = norm(before, tensors["midlayer.hidden_norm.weight"], eps)
        residual = normed if settings.get("norm_before_residual") else before
        x = torch.cat((norm(embedding[token], tensors["midlayer.input_layernorm.weight"], eps), normed))
        query, key, value = (project(tensors, name, x).view(-1, head_dim) for name in "qkv")
        keys.append(torch.stack([turn(row, position, settings, head_dim) for row in key]))
        values.append(value)
        mixed = []
        for number in range(heads):
            turned = turn(query[number], position, settings, head_dim)
            seen = range(max(0, position - window + 1), position + 1)
            of = number // (heads // groups)
            scores = torch.stack([turned @ keys[at][of] for at in seen]) / math.sqrt(head_dim)
            weights = scores.softmax(0)
            mixed.append(sum(weight * values[at][of] for weight, at in zip(weights, seen, strict=True)))
        hidden = residual + tensors["midlayer.self_attn.o_proj.weight"] @ torch.cat(mixed)  # type: ignore[arg-type]
        x = norm(hidden, tensors["midlayer.post_attention_layernorm.weight"], eps)
        gate, up, down = (tensors[f"midlayer.mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
        raw = hidden + down @ (torch.nn.functional.silu(gate @ x) * (up @ x))
        read = norm(raw, tensors["norm.weight"], eps)
        out = read if settings.get("norm_output") else raw
    return (tensors["lm_head.weight"] @ read).log_softmax(-1)


def fuse(tensors: Mapping[str, Tensor], settings: Mapping[str, Any], feature: Tensor) -> Tensor:
    """Return what the layer reads [H] for a feature of the target [F]."""
    if settings.get("use_aux_hidden_state") is False:
        return feature
    eps = settings["rms_norm_eps"]
    if settings.get("norm_before_fc"):
        feature = norm(feature, tensors["input_norm.weight"], eps)
    if settings.get("fc_norm"):
        parts = feature.chunk(3)
        feature = torch.cat([norm(part, tensors[f"fc_norm.{i}.weight"], eps) for i, part in enumerate(parts)])
    return tensors["fc.weight"] @ feature + tensors.get("fc.bias", torch.zeros(()))


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return the RMS norm of a vector."""
    return x / (x.square().mean() + eps).sqrt() * weight


def project(tensors: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Return queries, keys or values of a vector."""
    prefix = f"midlayer.self_attn.{name}_proj."
    return tensors[prefix + "weight"] @ x + tensors.get(prefix + "bias", torch.zeros(()))


def turn(x: Tensor, position: int, settings: Mapping[str, Any], head_dim: int) -> Tensor:
    """Return a query or key [head_dim] of one head, rotated."""
    rotated = int(head_dim * settings.get("partial_rotary_factor", 1.0))
    half = rotated // 2
    out = x.clone()
    for i in range(half):
        angle = position * frequency(settings, i, rotated)
        left, right = x[i], x[i + half]
        out[i] = left * math.cos(angle) - right * math.sin(angle)
        out[i + half] = right * math.cos(angle) + left * math.sin(angle)
    return out


def frequency(settings: Mapping[str, Any], i: int, rotated: int) -> float:
    """Return by how much a pair of dimensions turns from one position to the next."""
    plain: float = settings.get("rope_theta", 10_000.0) ** (-2 * i / rotated)
    scaling = settings.get("rope_scaling") or {"rope_type": "default"}
    if scaling["rope_type"] == "default":
        return plain
    if scaling["rope_type"] == "linear":
        return plain / float(scaling["factor"])
    assert scaling["rope_type"] == "llama3"
    wavelength, original = 2 * math.pi / plain, scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    if wavelength > original / low:
        return plain / float(scaling["factor"])
    if wavelength < original / high:
        return plain
    smooth = (original / wavelength - low) / (high - low)
    return float((1 - smooth) * plain / scaling["factor"] + smooth * plain)
