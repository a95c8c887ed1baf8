"""The EAGLE-3 head at inference: the cached layer of EAGLE-2 with other inputs and another output."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.ops.packed_linear import PackedLinear
from specframe_plugins.drafters.eagle.cached import CachedLayer, layer_weights
from specframe_plugins.drafters.eagle3.model import Eagle3Head


class CachedEagle3(CachedLayer):
    """Computes what ``Eagle3Head`` computes.

    Args:
        head: on the device and in the dtype to run with; its weights are copied.
        beams: nodes of every drafted level.
        levels: drafted levels that may be added between two commits.
    """

    def __init__(self, head: Eagle3Head, *, beams: int = 1, levels: int = 0) -> None:
        weights = {name: parameter.detach() for name, parameter in head.named_parameters()}
        layer = layer_weights(weights, "midlayer.")
        self._fc = (
            PackedLinear(weights["fc.weight"], weights.get("fc.bias")) if head.config.feature_layers else None
        )
        self._input_norm = weights.get("input_norm.weight")
        self._fc_norms = (
            [weights[f"fc_norm.{i}.weight"] for i in range(len(head.fc_norm))]
            if (head.config.fc_norm)
            else []
        )
        self._norm_output = head.config.norm_output
        self._embedding_norm = layer["input_layernorm.weight"]
        self._hidden_norm = layer["hidden_norm.weight"]
        self._norm_before_residual = head.config.norm_before_residual
        self._final_norm = weights["norm.weight"]
        super().__init__(
            head.config, layer, feature_size=head.config.feature_size, beams=beams, levels=levels
        )

    def fuse(self, features: Tensor) -> Tensor:
        """Return the hidden states [n, H] that the layer reads for the target's features [n, F]."""
        if self._fc is None:
            return features
        if self._input_norm is not None:
            features = self._norm(features, self._input_norm)
        if self._fc_norms:
            parts = features.chunk(len(self._fc_norms), dim=-1)
            normed = [self._norm(part, weight) for part, weight in zip(parts, self._fc_norms, strict=True)]
            features = torch.cat(normed, dim=-1)
        return self._fc(features)

    def for_head(self, predicted: Tensor) -> Tensor:
        """Return what the LM head reads [n, H] for what the next depth reads [n, H]."""
        return predicted if self._norm_output else self._norm(predicted, self._final_norm)

    def _finish(self, x: Tensor) -> Tensor:
        return self._norm(x, self._final_norm) if self._norm_output else x

    def _join(self, embeddings: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        normed = self._norm(features, self._hidden_norm)
        joined = torch.cat((self._norm(embeddings, self._embedding_norm), normed), dim=-1)
        return (normed if self._norm_before_residual else features), joined
