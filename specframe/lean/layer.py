"""One decoder layer: attention and MLP, with their norms and residual connections."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from specframe.lean.architecture import ACTIVATIONS, Family, activation
from specframe.lean.attention import Visible, attend
from specframe.lean.norm import RmsNorm
from specframe.lean.rotary import rotate
from specframe.packed_linear import PackedLinear


class LeanLayer:
    """Computes what a transformers decoder layer computes.

    Args:
        layer: of the model; its weights are copied.
        family: how its norms are called and applied.
        config: of the model's text part.
        kind: its layer type, which decides over window and rotation.
    """

    def __init__(self, layer: nn.Module, family: Family, config: Any, kind: str) -> None:
        parts: Any = layer
        self.kind = kind
        self._head_dim = int(parts.self_attn.head_dim)
        self._scale = float(parts.self_attn.scaling)
        self._kv_heads = int(config.num_key_value_heads)
        self._heads = int(config.num_attention_heads)
        self._activation = ACTIVATIONS[activation(config)]

        def linear(*names: str) -> PackedLinear:
            modules: list[Any] = [layer.get_submodule(f"{name}_proj") for name in names]
            biases = [m.weight.new_zeros(len(m.weight)) if m.bias is None else m.bias for m in modules]
            return PackedLinear(
                torch.cat([m.weight for m in modules]),
                None if all(m.bias is None for m in modules) else torch.cat(biases),
            )

        def norm(name: str | None) -> RmsNorm | None:
            weight = None if name is None else getattr(layer.get_submodule(name), "weight", None)
            if weight is None:
                return None
            return RmsNorm(weight.float() + family.norm_offset, float(config.rms_norm_eps))

        self._qkv = linear("self_attn.q", "self_attn.k", "self_attn.v")
        self._out = linear("self_attn.o")
        self._gate_up = linear("mlp.gate", "mlp.up")
        self._down = linear("mlp.down")
        has_head_norms = hasattr(parts.self_attn, "q_norm")
        self._query_norm = norm("self_attn.q_norm" if has_head_norms else None)
        self._key_norm = norm("self_attn.k_norm" if has_head_norms else None)
        self._before_attention = norm(family.before_attention)
        self._after_attention = norm(family.after_attention)
        self._before_mlp = norm(family.before_mlp)
        self._after_mlp = norm(family.after_mlp)

    def __call__(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], memory: Tensor, start: int, visible: Visible
    ) -> Tensor:
        """Return the layer's output [n, H] and leave the keys and values of the n tokens in the cache.

        Args:
            x: [n, H].
            rotation: cosines and signed sines of the tokens' positions [n, 1, D].
            memory: keys and values of this layer [2, key heads, capacity, D].
            start: where in the cache the tokens are written.
            visible: what they see.
        """
        mixed = self._out(self._attend(_normed(x, self._before_attention), rotation, memory, start, visible))
        x = x + _normed(mixed, self._after_attention)
        gate, up = self._gate_up(_normed(x, self._before_mlp)).chunk(2, dim=-1)
        return x + _normed(self._down(self._activation(gate) * up), self._after_mlp)

    def _attend(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], memory: Tensor, start: int, visible: Visible
    ) -> Tensor:
        n, turned = len(x), self._heads + self._kv_heads
        qkv = self._qkv(x).view(n, turned + self._kv_heads, self._head_dim)
        if self._query_norm is not None and self._key_norm is not None:
            query = rotate(self._query_norm(qkv[:, : self._heads]), rotation)
            keys = rotate(self._key_norm(qkv[:, self._heads : turned]), rotation)
        else:
            query, keys = rotate(qkv[:, :turned], rotation).split((self._heads, self._kv_heads), dim=1)
        memory[0, :, start : start + n] = keys.transpose(0, 1)
        memory[1, :, start : start + n] = qkv[:, turned:].transpose(0, 1)
        return attend(query, memory[0], memory[1], visible, self._scale)


def _normed(x: Tensor, norm: RmsNorm | None) -> Tensor:
    return x if norm is None else norm(x)
