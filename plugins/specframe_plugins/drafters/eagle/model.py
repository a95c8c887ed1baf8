"""The EAGLE head: one decoder layer that predicts the target's next feature.

Source: EAGLE (arXiv 2401.15077, section 4.1); EAGLE-2 (arXiv 2406.16858) keeps the architecture.
Shapes: B sequences, T positions, H hidden.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


@attrs.frozen(kw_only=True)
class EagleConfig:
    """Sizes of an EAGLE head, and the target it was made for.

    Attributes:
        vocab_size: V of the target.
        hidden_size: H of the target.
        intermediate_size: width of the MLP.
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads.
        head_dim: width of one attention head; even.
        rms_norm_eps: added to the mean square in every norm.
        rope_theta: base of the rotary frequencies.
        max_position_embeddings: positions it was trained for.
        fc_bias: ``fc`` has a bias.
        attention_bias: the q, k and v projections have a bias.
        input_norms: RMSNorm on the embedding and on the feature before ``fc``.
        output_norm: RMSNorm on the output, which then has the scale of a feature after the final norm.
        hidden_act: activation of the MLP.
        induction_groups: how many of the key and value heads, the last ones, are induction heads.
        target_name: the target it was trained for.
        tokenizer_fingerprint: fingerprint of the target's tokenizer; None when the checkpoint has none.
        own_embedding: the checkpoint has an embedding of its own.
        partial_rotary_factor: which part of every attention head is rotated. Its rows are stored so that what
            is rotated together is half a head apart, as where all of it is rotated.
        rope_scaling: ``rope_type`` and parameters of scaled rotations, as in ``transformers``; None for
            plain ones.
        sliding_window: how many positions a pair sees, its own included; None for all.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    max_position_embeddings: int = 2048
    fc_bias: bool = False
    attention_bias: bool = False
    input_norms: bool = True
    output_norm: bool = True
    hidden_act: str = "silu"
    induction_groups: int = 0
    target_name: str = ""
    tokenizer_fingerprint: str | None = None
    own_embedding: bool = False
    partial_rotary_factor: float = 1.0
    rope_scaling: dict[str, Any] | None = None
    sliding_window: int | None = None

    @property
    def rotary_dim(self) -> int:
        """How many dimensions of an attention head are rotated."""
        return int(self.head_dim * self.partial_rotary_factor)

    @classmethod
    def for_target(cls, target_config: Any, **overrides: Any) -> EagleConfig:
        """Return the sizes of one layer of the target, with RMSNorms on both inputs and on the output.

        Args:
            target_config: the ``transformers`` config of the target.
            **overrides: fields to set otherwise, for example ``target_name``.
        """
        config = target_config.get_text_config()
        heads = config.num_attention_heads
        fields: dict[str, Any] = {
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_attention_heads": heads,
            "num_key_value_heads": getattr(config, "num_key_value_heads", None) or heads,
            "head_dim": getattr(config, "head_dim", None) or config.hidden_size // heads,
            "rms_norm_eps": getattr(config, "rms_norm_eps", 1e-6),
            "rope_theta": _rope_theta(config),
            "max_position_embeddings": config.max_position_embeddings,
        }
        return cls(**{**fields, **overrides})


def _rope_theta(config: Any) -> float:
    """Return the rotary base of the target's full-attention layers, 10000 when it has none."""
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    return float(rope.get("rope_theta") or getattr(config, "rope_theta", None) or 10_000.0)


def rotary_tables(config: EagleConfig, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin [..., head_dim] float32 for positions [...].

    Source: RoFormer (arXiv 2104.09864), in the half-split layout of Llama; scaled rotations are those of
    ``transformers``. What is not rotated has an angle of zero.
    """
    frequencies, scale = rotary_frequencies(config, positions.device)
    angles = positions[..., None].float() * frequencies
    still = angles.new_zeros(*positions.shape, (config.head_dim - config.rotary_dim) // 2)
    cos = torch.cat((angles.cos() * scale, still + 1), dim=-1)
    sin = torch.cat((angles.sin() * scale, still), dim=-1)
    return torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1)


def rotary_frequencies(config: EagleConfig, device: torch.device) -> tuple[Tensor, float]:
    """Return inverse frequencies [rotary_dim / 2] float32, and the factor on cosines and sines."""
    if config.rope_scaling is None:
        exponents = torch.arange(0, config.rotary_dim, 2, device=device).float() / config.rotary_dim
        return config.rope_theta**-exponents, 1.0
    # Imported here since it takes long, and heads with scaled rotations are few.
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_theta": config.rope_theta, "partial_rotary_factor": config.partial_rotary_factor}
    described = LlamaConfig(
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_position_embeddings,
        rope_parameters={**rope, **config.rope_scaling},
    )
    frequencies, scale = ROPE_INIT_FUNCTIONS[config.rope_scaling["rope_type"]](described, device)
    return frequencies.to(device), float(scale)


def half_split_order(head_dim: int, rotary_dim: int) -> Tensor:
    """Return in which order the dimensions of a partly rotated head stand half a head apart [head_dim].

    As published, the first ``rotary_dim`` are rotated, each with the one half of ``rotary_dim`` behind it.
    """
    rotated, rest = torch.arange(rotary_dim), torch.arange(rotary_dim, head_dim)
    halves = (*rotated.chunk(2), *rest.chunk(2)) if len(rest) else rotated.chunk(2)
    return torch.cat(tuple(halves[::2]) + tuple(halves[1::2]))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return ``x`` [..., head_dim] rotated by tables that broadcast against it."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class PairLayer(nn.Module, ABC):
    """One decoder layer over pairs of an embedding and a feature, as trained and stored.

    Args:
        config: its sizes.
    """

    def __init__(self, config: EagleConfig) -> None:
        super().__init__()
        self.config = config

    @property
    @abstractmethod
    def attention(self) -> Attention:
        """The layer's attention."""

    def fuse(self, features: Tensor) -> Tensor:
        """Return the features that the layer reads [..., H] for those of the target [..., F]."""
        return features

    @abstractmethod
    def read(self, embeddings: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the residual starts [..., H], and what attention reads [..., input size]."""

    @abstractmethod
    def after_attention(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the LM head reads, and the feature that the next depth reads, both [..., H]."""

    def predict(
        self, embeddings: Tensor, features: Tensor, positions: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what ``after_attention`` does for each pair, twice [B, T, H].

        Args:
            embeddings: of token t + 1 [B, T, H], scaled as the target scales it.
            features: of position t, as the layer reads them [B, T, H].
            positions: t [B, T].
            attention_mask: who attends to whom [B, 1, T, T] bool; None for causal, within the window.
        """
        residual, read = self.read(embeddings, features)
        cos, sin = rotary_tables(self.config, positions)
        if attention_mask is None and self.config.sliding_window is not None:
            distance = positions[:, :, None] - positions[:, None, :]
            attention_mask = ((distance >= 0) & (distance < self.config.sliding_window))[:, None]
        table = cos.to(read.dtype)[:, None], sin.to(read.dtype)[:, None]
        return self.after_attention(residual + self.attention(read, *table, attention_mask))

    def forward(
        self, embeddings: Tensor, features: Tensor, positions: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Return the predicted features [B, T, H]; the arguments are those of ``predict``."""
        return self.predict(embeddings, features, positions, attention_mask)[1]


class EagleHead(PairLayer):
    """The EAGLE-2 head; parameter names follow the public checkpoints.

    The LM head belongs to the target, and so does the embedding unless the checkpoint has one. The layer has
    no input norm, as published.
    """

    def __init__(self, config: EagleConfig) -> None:
        super().__init__(config)
        hidden, eps = config.hidden_size, config.rms_norm_eps
        if config.input_norms:
            self.embedding_norm = nn.RMSNorm(hidden, eps)
            self.feature_norm = nn.RMSNorm(hidden, eps)
        self.fc = nn.Linear(2 * hidden, hidden, bias=config.fc_bias)
        self.layers = nn.ModuleList([_Layer(config)])
        if config.output_norm:
            self.norm = nn.RMSNorm(hidden, eps)
        if config.own_embedding:
            self.embed_tokens = nn.Embedding(config.vocab_size, hidden)

    @property
    def attention(self) -> Attention:
        """The layer's attention."""
        layer: Any = self.layers[0]
        attention: Attention = layer.self_attn
        return attention

    def read(self, embeddings: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fused inputs [..., H] twice."""
        if self.config.input_norms:
            embeddings, features = self.embedding_norm(embeddings), self.feature_norm(features)
        fused = self.fc(torch.cat((embeddings, features), dim=-1))
        return fused, fused

    def after_attention(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predicted feature [..., H] twice: the LM head reads it, and so does the next depth."""
        layer: Any = self.layers[0]
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden)).to(hidden.dtype)
        predicted: Tensor = self.norm(hidden) if self.config.output_norm else hidden
        return predicted, predicted


class _Layer(nn.Module):
    """The weights of attention and MLP; only the MLP has a norm before it."""

    def __init__(self, config: EagleConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config, config.hidden_size)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = GatedMlp(config)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, some of whose heads may be induction heads.

    An induction head finds what followed the last time. One layer can do that if the keys come from the
    position before (Olsson et al., arXiv 2209.11895, the "smeared key" architecture): a query like an earlier
    pair then meets the pair after that one. Positions do not matter to it, so nothing is rotated. The first
    pair has none before it, and a key of zeros.

    Args:
        config: the head's sizes.
        input_size: width of what it reads; its output has the head's hidden size.
    """

    def __init__(self, config: EagleConfig, input_size: int) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.ordinary_groups = config.num_key_value_heads - config.induction_groups
        self.shared = config.num_attention_heads // config.num_key_value_heads
        bias = config.attention_bias
        query_width = config.num_attention_heads * config.head_dim
        key_width = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(input_size, query_width, bias=bias)
        self.k_proj = nn.Linear(input_size, key_width, bias=bias)
        self.v_proj = nn.Linear(input_size, key_width, bias=bias)
        self.o_proj = nn.Linear(query_width, config.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return what each position [B, T, H] gathers for inputs [B, T, input size]."""
        query, key, value = self.project(x, cos, sin)
        mixed = F.scaled_dot_product_attention(
            query,
            self.following(key, key),
            value,
            attn_mask=attention_mask,
            is_causal=attention_mask is None,
            enable_gqa=True,
        )
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values [B, heads or groups, T, head_dim] of inputs [B, T, input size]."""
        query, key, value = (
            projection(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        groups = self.ordinary_groups
        query = _rotate_first(query, groups * self.shared, cos, sin)
        return query, _rotate_first(key, groups, cos, sin), value

    def following(self, key: Tensor, before: Tensor) -> Tensor:
        """Return the keys to attend to: those of induction heads are of the position before.

        Args:
            key: of every position [B, groups, T, head_dim].
            before: keys of which those of position t - 1 belong to position t [B, groups, T, head_dim].
        """
        groups = self.ordinary_groups
        if groups == key.shape[1]:
            return key
        return torch.cat((key[:, :groups], F.pad(before[:, groups:, :-1], (0, 0, 1, 0))), dim=1)


def _rotate_first(x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
    """Return ``x`` [B, all heads, T, head_dim] with the first heads rotated."""
    rotated = rotate(x[:, :heads], cos.to(x.dtype), sin.to(x.dtype))
    return rotated if heads == x.shape[1] else torch.cat((rotated, x[:, heads:]), dim=1)


class GatedMlp(nn.Module):
    """The gated MLP of Llama-type layers."""

    def __init__(self, config: EagleConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.hidden_act]
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., H] for [..., H]."""
        out: Tensor = self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))
        return out
