"""A decoder as a graph: what it reads, what it returns, and the operations between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor

from specframe.model.lean.architecture import FAMILIES, activation
from specframe.model.lean.parts import DecoderParts

# Nodes of a graph are untyped.
Node = Any

# What stands for each of ``architecture.ACTIVATIONS``.
_ACTIVATIONS = {"silu": ops.swish, "gelu_pytorch_tanh": lambda x: ops.gelu(x, "TANH")}


class DecoderGraph:
    """Builds the graph of a decoder that ``architecture.why_not`` has nothing against.

    n new tokens, S positions of the cache, G key heads, D wide. Inputs in this order: what enters the first
    layer [n, H]; for every layer type cosines [n, 1, D], signed sines [n, 1, D] and what is added to the
    scores [n * shared, S + n]; for every layer the cached keys and values [G, S, D] each. Outputs: the last
    hidden states [n, H]; the new keys and values of all layers [L, 2, G, n, D]; the input of each layer that
    was asked for, and the last one's output for the number of layers, [n, H] each.

    Args:
        parts: of the decoder; the graph shares their memory until it is compiled.
        kinds: the layer type of every layer.
        features: layers whose inputs are returned.
    """

    def __init__(self, parts: DecoderParts, kinds: Sequence[str], features: Sequence[int] = ()) -> None:
        config, facts = parts.config, parts.facts
        self._parts, self._family, self._eps = parts, FAMILIES[config.model_type], float(config.rms_norm_eps)
        self._groups, self._heads = int(config.num_key_value_heads), int(config.num_attention_heads)
        self._shared, self._dim, self._scale = self._heads // self._groups, facts.head_dim, facts.scaling
        self._activation = _ACTIVATIONS[activation(config)]
        x = _input(-1, config.hidden_size)
        inputs, self._rotations, self._masks = [x], {}, {}
        for kind in dict.fromkeys(kinds):
            self._rotations[kind] = _input(-1, 1, self._dim), _input(-1, 1, self._dim)
            self._masks[kind] = _input(-1, -1)
            inputs += [*self._rotations[kind], self._masks[kind]]
        states, new = [x], []
        for index, kind in enumerate(kinds):
            cached = _input(self._groups, -1, self._dim), _input(self._groups, -1, self._dim)
            inputs += cached
            x, keys, values = self._layer(f"layers.{index}.", kind, x, *cached)
            states.append(x)
            new.append(ops.unsqueeze(ops.concat([_outer(keys), _outer(values)], 0), _ints(0)))
        outputs = [self._norm(x, "norm.weight"), ops.concat(new, 0), *(states[layer] for layer in features)]
        self.model = ov.Model([ops.result(one) for one in outputs], inputs, "decoder")

    def _layer(
        self, name: str, kind: str, x: Node, cached_keys: Node, cached_values: Node
    ) -> tuple[Node, Node, Node]:
        """Return a layer's output [n, H] and its new keys and values [G, n, D]."""
        family, groups, shared, dim = self._family, self._groups, self._shared, self._dim
        qkv = self._linear(
            self._norm(x, f"{name}{family.before_attention}.weight"),
            *(f"{name}self_attn.{one}_proj" for one in ("q", "k", "v")),
        )
        qkv = ops.reshape(qkv, _ints(0, self._heads + 2 * groups, dim), True)
        query, keys, values = ops.variadic_split(qkv, _ints(1), _ints(self._heads, groups, groups)).outputs()
        query = self._rotate(self._norm(query, f"{name}self_attn.q_norm.weight"), kind)
        keys = self._rotate(self._norm(keys, f"{name}self_attn.k_norm.weight"), kind)
        keys, values = (ops.transpose(one, _ints(1, 0, 2)) for one in (keys, values))
        # Query heads that share a key head are rows of one product, so that no key is copied.
        query = ops.reshape(ops.multiply(query, _float(self._scale)), _ints(-1, groups, shared, dim), False)
        query = ops.reshape(ops.transpose(query, _ints(1, 0, 2, 3)), _ints(groups, -1, dim), False)
        scores = ops.concat(
            [ops.matmul(query, cached_keys, False, True), ops.matmul(query, keys, False, True)], 2
        )
        shares = ops.softmax(ops.add(scores, ops.unsqueeze(self._masks[kind], _ints(0))), 2)
        lengths = ops.concat([_length(cached_keys), _length(keys)], 0)
        of_cached, of_new = ops.variadic_split(shares, _ints(2), lengths).outputs()
        mixed = ops.add(
            ops.matmul(of_cached, cached_values, False, False), ops.matmul(of_new, values, False, False)
        )
        mixed = ops.transpose(ops.reshape(mixed, _ints(groups, -1, shared, dim), False), _ints(1, 0, 2, 3))
        mixed = ops.reshape(mixed, _ints(-1, self._heads * dim), False)
        mixed = self._linear(mixed, f"{name}self_attn.o_proj")
        x = ops.add(x, self._norm(mixed, _named(name, family.after_attention)))
        inner = self._norm(x, f"{name}{family.before_mlp}.weight")
        gate, up = (self._linear(inner, f"{name}mlp.{one}_proj") for one in ("gate", "up"))
        inner = self._linear(ops.multiply(self._activation(gate), up), f"{name}mlp.down_proj")
        return ops.add(x, self._norm(inner, _named(name, family.after_mlp))), keys, values

    def _linear(self, x: Node, *names: str) -> Node:
        """Return the product with the rows of several weights, one after the other, and their biases."""
        weights = [self._weight(f"{name}.weight") for name in names]
        out = ops.matmul(x, _constant(weights[0] if len(weights) == 1 else torch.cat(weights)), False, True)
        biases = [self._parts.weight(f"{name}.bias") for name in names]
        if all(bias is None for bias in biases):
            return out
        filled = [
            weight.new_zeros(len(weight)) if bias is None else bias
            for weight, bias in zip(weights, biases, strict=True)
        ]
        return ops.add(out, _constant(torch.cat(filled)))

    def _norm(self, x: Node, name: str | None) -> Node:
        """Return ``x / sqrt(mean(x²) + eps) * weight``; x itself without a norm of that name."""
        weight = None if name is None else self._parts.weight(name)
        if weight is None:
            return x
        square = ops.reduce_mean(ops.power(x, _float(2.0)), _ints(-1), True)
        root = ops.divide(_float(1.0), ops.sqrt(ops.add(square, _float(self._eps))))
        return ops.multiply(ops.multiply(x, root), _constant(weight.float() + self._family.norm_offset))

    def _rotate(self, x: Node, kind: str) -> Node:
        """Return x [n, heads, D] rotated; the sign of the swapped half is in the sines."""
        cos, signed_sin = self._rotations[kind]
        first, second = ops.split(x, _ints(2), 2).outputs()
        return ops.add(ops.multiply(x, cos), ops.multiply(ops.concat([second, first], 2), signed_sin))

    def _weight(self, name: str) -> Tensor:
        weight = self._parts.weight(name)
        assert weight is not None, name
        return weight


def _input(*shape: int) -> Node:
    return ops.parameter(ov.PartialShape(list(shape)), np.float32)


def _constant(values: Tensor) -> Node:
    return ops.constant(values.detach().float().contiguous().numpy(), shared_memory=True)


def _float(value: float) -> Node:
    return ops.constant(np.array(value, dtype=np.float32))


def _ints(*values: int) -> Node:
    return ops.constant(np.array(values if len(values) > 1 else values[0], dtype=np.int64))


def _outer(x: Node) -> Node:
    return ops.unsqueeze(x, _ints(0))


def _length(x: Node) -> Node:
    """Return the second dimension of [G, S, D] as [1]."""
    return ops.gather(ops.shape_of(x), ops.constant(np.array([1])), _ints(0))


def _named(name: str, norm: str | None) -> str | None:
    return None if norm is None else f"{name}{norm}.weight"
