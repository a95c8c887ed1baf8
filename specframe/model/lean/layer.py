"""One decoder layer: attention and MLP, with their norms and residual connections."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from specframe.model.lean.architecture import ACTIVATIONS, Family, activation
from specframe.model.lean.attention import attend
from specframe.model.lean.norm import RmsNorm
from specframe.model.lean.parts import DecoderParts
from specframe.model.lean.rotary import rotate
from specframe.ops.packed_linear import PackedLinear


class Memory(NamedTuple):
    """What a layer reads and writes of the cache in one pass.

    Attributes:
        new_keys: where the keys of the n new tokens go [1, key heads, n, D].
        new_values: where their values go.
        keys: of all positions that any of them sees [1, key heads, S, D].
        values: of the same positions.
        mask: added to the scores [n * shared, S]; None for none.
    """

    new_keys: Tensor
    new_values: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor | None


class LeanLayer:
    """Computes what a transformers decoder layer computes.

    Args:
        index: which layer of the decoder it is.
        parts: the decoder; the layer's weights are copied.
        family: how its norms are called and applied.
        kind: its layer type, which decides over window and rotation.
    """

    def __init__(self, index: int, parts: DecoderParts, family: Family, kind: str) -> None:
        config = parts.config
        self.kind = kind
        self._head_dim, self._scale = parts.facts.head_dim, parts.facts.scaling
        self._kv_heads = int(config.num_key_value_heads)
        self._heads = int(config.num_attention_heads)
        self._activation = ACTIVATIONS[activation(config)]

        def optional(name: str) -> Tensor | None:
            return parts.weight(f"layers.{index}.{name}")

        def required(name: str) -> Tensor:
            weight = optional(name)
            assert weight is not None, name
            return weight

        def linear(*names: str) -> PackedLinear:
            weights = [required(f"{name}_proj.weight") for name in names]
            biases = [optional(f"{name}_proj.bias") for name in names]
            pairs = zip(weights, biases, strict=True)
            filled = [weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in pairs]
            return PackedLinear(
                weights[0] if len(weights) == 1 else torch.cat(weights),
                None if all(bias is None for bias in biases) else torch.cat(filled),
            )

        def norm(name: str | None) -> RmsNorm | None:
            weight = None if name is None else optional(f"{name}.weight")
            if weight is None:
                return None
            return RmsNorm(weight.float() + family.norm_offset, float(config.rms_norm_eps))

        self._qkv = linear("self_attn.q", "self_attn.k", "self_attn.v")
        out = self._in_order_of_attention(required("self_attn.o_proj.weight"))
        self._out = PackedLinear(out, optional("self_attn.o_proj.bias"))
        self._gate_up = linear("mlp.gate", "mlp.up")
        self._down = linear("mlp.down")
        self._query_norm, self._key_norm = norm("self_attn.q_norm"), norm("self_attn.k_norm")
        self._before_attention = norm(family.before_attention)
        self._after_attention = norm(family.after_attention)
        self._before_mlp = norm(family.before_mlp)
        self._after_mlp = norm(family.after_mlp)

    def _in_order_of_attention(self, weight: Tensor) -> Tensor:
        """Return the output projection [H, heads * D] for heads in the order that ``attend`` returns."""
        by_key_head = weight.view(len(weight), self._kv_heads, -1, self._head_dim)
        return by_key_head.transpose(1, 2).reshape(weight.shape)

    def __call__(self, x: Tensor, rotation: tuple[Tensor, Tensor], memory: Memory) -> Tensor:
        """Return the layer's output [n, H] and leave the keys and values of the n tokens in the cache.

        Args:
            x: [n, H].
            rotation: cosines and signed sines of the tokens' positions [n, 1, D].
            memory: the layer's part of the cache.
        """
        return self.mlp(self.attention(x, rotation, memory))

    def attention(self, x: Tensor, rotation: tuple[Tensor, Tensor], memory: Memory) -> Tensor:
        """Return what enters the MLP's part [n, H]; arguments as for the whole layer."""
        mixed = self._out(self._attend(_normed(x, self._before_attention), rotation, memory))
        return x + _normed(mixed, self._after_attention)

    def mlp(self, x: Tensor) -> Tensor:
        """Return the layer's output [n, H] of what its attention left."""
        gate, up = self._gate_up(_normed(x, self._before_mlp)).chunk(2, dim=-1)
        return x + _normed(self._down(self._activation(gate) * up), self._after_mlp)

    def _attend(self, x: Tensor, rotation: tuple[Tensor, Tensor], memory: Memory) -> Tensor:
        heads, kv_heads = self._heads, self._kv_heads
        qkv = self._qkv(x).view(len(x), heads + 2 * kv_heads, self._head_dim)
        if self._query_norm is not None and self._key_norm is not None:
            query, keys, values = qkv.split((heads, kv_heads, kv_heads), dim=1)
            query = rotate(self._query_norm(query), rotation)
            keys = rotate(self._key_norm(keys), rotation)
        else:
            turned, values = qkv.split((heads + kv_heads, kv_heads), dim=1)
            query, keys = rotate(turned, rotation).split((heads, kv_heads), dim=1)
        memory.new_keys.copy_(keys.transpose(0, 1))
        memory.new_values.copy_(values.transpose(0, 1))
        return attend(query, memory.keys, memory.values, memory.mask, self._scale)


def _normed(x: Tensor, norm: RmsNorm | None) -> Tensor:
    return x if norm is None else norm(x)
