"""What may be left out of a decoder: attentions and MLPs of all layers but the first and the last."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from specframe.model.forward import LeftOut
from specframe_plugins.drafters.swift.search import LayerSearch

# How much more is expected to be lost in the outermost layers. Measured with SmolLM2 (30 layers): without the
# attention of layer 1 the rest finds 17 % of the tokens, without the MLP of layer 28 71 %, without any other
# attention in between 75 to 95 %, and without any other MLP 76 to 87 %.
_OUTER = 2.0


class LayerParts:
    """Parts by number: the attentions, layer by layer, and then the MLPs; none of the first and last layer.

    Args:
        config: of the model's text part.
    """

    def __init__(self, config: Any) -> None:
        self._inner = max(int(config.num_hidden_layers) - 2, 0)
        self._sizes = torch.tensor([_attention(config), _mlp(config)]).double().repeat_interleave(self._inner)

    def __len__(self) -> int:
        return len(self._sizes)

    def search(self, share: float) -> LayerSearch:
        """Return a search for parts that together have a share of all weights, above 0."""
        return LayerSearch(self._sizes, share, self._expected())

    def share(self, parts: tuple[int, ...]) -> float:
        """Return which share of all weights some parts have."""
        return float(self._sizes[list(parts)].sum() / self._sizes.sum())

    def left_out(self, parts: tuple[int, ...]) -> LeftOut:
        """Return parts as layers without them."""
        inner = self._inner
        return LeftOut(
            attention=frozenset(1 + part for part in parts if part < inner),
            mlp=frozenset(1 + part - inner for part in parts if part >= inner),
        )

    def _expected(self) -> Tensor:
        """Return what leaving each part out is expected to lose: by size, and more in the outer layers."""
        depth = torch.arange(1, self._inner + 1)
        outer = (_OUTER / depth**2 + _OUTER / depth.flip(0) ** 2).repeat(2)
        return self._sizes / self._sizes.mean() * (1 + outer)


def _attention(config: Any) -> int:
    """Return the weights of an attention, as far as the config says."""
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or hidden // heads)
    groups = int(getattr(config, "num_key_value_heads", None) or heads)
    return 2 * hidden * width * (heads + groups)


def _mlp(config: Any) -> int:
    """Return the weights of an MLP that a token meets, as far as the config says."""
    names = ("moe_intermediate_size", "intermediate_size")
    width = next((size for name in names if (size := getattr(config, name, None))), 4 * config.hidden_size)
    return 3 * int(config.hidden_size) * int(width) * int(getattr(config, "num_experts_per_tok", None) or 1)
