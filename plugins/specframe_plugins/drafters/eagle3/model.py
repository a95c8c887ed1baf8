"""The EAGLE-3 head: one decoder layer on fused features of several target layers, and its own LM head.

Source: EAGLE-3 (arXiv 2503.01840, section 3) and the layout of its public checkpoints.
Shapes: B sequences, T positions, H hidden of the head, F fused feature width (layers x target hidden).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from specframe_plugins.drafters.eagle.model import Attention, EagleConfig, GatedMlp, PairLayer


def _as_tuple(layers: Iterable[int]) -> tuple[int, ...]:
    return tuple(layers)


@attrs.frozen(kw_only=True)
class Eagle3Config(EagleConfig):
    """Sizes of an EAGLE-3 head, and the target it was made for.

    Attributes:
        target_hidden_size: H of the target, which may differ from the head's ``hidden_size``.
        draft_vocab_size: rows of the head's LM head; V when it is not reduced.
        feature_layers: which hidden states of the target are the features: i stands for the input of layer i,
            the number of layers for the output of the last one, before the final norm. With none, the
            target's output after its final norm is the feature, and there is no ``fc``.
        norm_before_residual: the residual starts from the normed feature instead of the feature.
        norm_before_fc: RMSNorm over the features side by side.
        fc_norm: RMSNorm over the feature of each layer (EAGLE 3.1).
        norm_output: the next depth reads the output after the final norm, as the LM head does.
        own_lm_head: the checkpoint has an LM head of its own; without one, the target's proposes.
    """

    target_hidden_size: int
    draft_vocab_size: int
    feature_layers: tuple[int, ...] = attrs.field(converter=_as_tuple)
    norm_before_residual: bool = False
    norm_before_fc: bool = False
    fc_norm: bool = False
    norm_output: bool = False
    own_lm_head: bool = True

    @property
    def feature_size(self) -> int:
        """F, the width of what the target hands over."""
        return max(len(self.feature_layers), 1) * self.target_hidden_size


def default_feature_layers(num_layers: int) -> tuple[int, ...]:
    """Return the layers of the public checkpoints: a low, a middle and a high one.

    A target of fewer than six layers has no such three; there they are spread as far as possible.
    """
    if num_layers >= 6:
        return (2, num_layers // 2, num_layers - 3)
    return tuple(dict.fromkeys((min(1, num_layers), (num_layers + 1) // 2, num_layers)))


def for_target(target_config: Any, **overrides: Any) -> Eagle3Config:
    """Return a head of one layer of the target's sizes over its full vocabulary.

    Args:
        target_config: the ``transformers`` config of the target.
        **overrides: fields to set otherwise.
    """
    sizes = attrs.asdict(EagleConfig.for_target(target_config))
    config = target_config.get_text_config()
    fields: dict[str, Any] = {
        **sizes,
        "target_hidden_size": config.hidden_size,
        "draft_vocab_size": config.vocab_size,
        "feature_layers": default_feature_layers(config.num_hidden_layers),
    }
    return Eagle3Config(**{**fields, **overrides})


class Eagle3Head(PairLayer):
    """The EAGLE-3 head; parameter names follow the public checkpoints.

    An LM head of its own is trained and stored with it, in rows of the reduced vocabulary where there is one;
    the embedding is the target's unless the checkpoint has one.
    """

    config: Eagle3Config

    def __init__(self, config: Eagle3Config) -> None:
        super().__init__(config)
        hidden = config.hidden_size
        if config.norm_before_fc:
            self.input_norm = nn.RMSNorm(config.feature_size, config.rms_norm_eps)
        if config.fc_norm:
            norms = [
                nn.RMSNorm(config.target_hidden_size, config.rms_norm_eps) for _ in config.feature_layers
            ]
            self.fc_norm = nn.ModuleList(norms)
        if config.feature_layers:
            self.fc = nn.Linear(config.feature_size, hidden, bias=config.fc_bias)
        self.midlayer = _MidLayer(config)
        self.norm = nn.RMSNorm(hidden, config.rms_norm_eps)
        if config.own_lm_head:
            self.lm_head = nn.Linear(hidden, config.draft_vocab_size, bias=False)
        if config.own_embedding:
            self.embed_tokens = nn.Embedding(config.vocab_size, hidden)

    @property
    def attention(self) -> Attention:
        """The layer's attention."""
        return self.midlayer.self_attn

    def read(self, embeddings: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the residual starts [..., H], and embedding and feature side by side [..., 2H]."""
        normed = self.midlayer.hidden_norm(features)
        residual = normed if self.config.norm_before_residual else features
        return residual, torch.cat((self.midlayer.input_layernorm(embeddings), normed), dim=-1)

    def after_attention(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the LM head reads, and the layer's output, which the next depth reads [..., H]."""
        layer = self.midlayer
        out = hidden + layer.mlp(layer.post_attention_layernorm(hidden)).to(hidden.dtype)
        normed: Tensor = self.norm(out)
        return normed, normed if self.config.norm_output else out

    def fuse(self, features: Tensor) -> Tensor:
        """Return the hidden states [..., H] of the target's features [..., F]."""
        config = self.config
        if not config.feature_layers:
            return features
        if config.norm_before_fc:
            features = self.input_norm(features)
        if config.fc_norm:
            parts = features.chunk(len(self.fc_norm), dim=-1)
            features = torch.cat([norm(part) for norm, part in zip(self.fc_norm, parts, strict=True)], dim=-1)
        fused: Tensor = self.fc(features)
        return fused


class _MidLayer(nn.Module):
    """The weights of attention over embedding and feature side by side, and of the MLP after it."""

    def __init__(self, config: Eagle3Config) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = nn.RMSNorm(hidden, eps)
        self.hidden_norm = nn.RMSNorm(hidden, eps)
        self.self_attn = Attention(config, 2 * hidden)
        self.post_attention_layernorm = nn.RMSNorm(hidden, eps)
        self.mlp = GatedMlp(config)
