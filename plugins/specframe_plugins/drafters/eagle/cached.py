"""The EAGLE head at inference: fused weights and a KV cache that drafted levels extend and leave again.

With one layer, keys and values depend on the inputs alone. So pairs that nobody asks a feature of need no
attention and no MLP.
Shapes: n pairs, b beams, H hidden, S drafted nodes in the cache.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from specframe_plugins.drafters.eagle.model import ACTIVATIONS, EagleHead, rotary_tables

_INITIAL_CAPACITY = 1024


class CachedHead:
    """Computes what ``EagleHead`` computes, one sequence at a time, with keys and values remembered.

    Args:
        head: on the device and in the dtype to run with; its weights are copied.

    Attributes:
        length: committed pairs in the cache.
    """

    def __init__(self, head: EagleHead) -> None:
        config = self._config = head.config
        weights = {name: parameter.detach() for name, parameter in head.named_parameters()}
        self._fc, self._fc_bias = weights["fc.weight"], weights.get("fc.bias")
        self._input_norms = [weights.get(f"{name}.weight") for name in ("embedding_norm", "feature_norm")]
        self._output_norm = weights.get("norm.weight")
        self._mlp_norm = weights["layers.0.post_attention_layernorm.weight"]
        attention, mlp = "layers.0.self_attn", "layers.0.mlp"
        self._qkv = torch.cat([weights[f"{attention}.{x}_proj.weight"] for x in "qkv"])
        self._qkv_bias = (
            torch.cat([weights[f"{attention}.{x}_proj.bias"] for x in "qkv"])
            if config.attention_bias
            else None
        )
        self._out = weights[f"{attention}.o_proj.weight"]
        self._gate_up = torch.cat([weights[f"{mlp}.{x}_proj.weight"] for x in ("gate", "up")])
        self._down = weights[f"{mlp}.down_proj.weight"]
        self._activation = ACTIVATIONS[config.hidden_act]
        self.length = 0
        self._drafted = 0
        self._levels = 0
        self._keys = self._values = self._fc.new_empty(config.num_key_value_heads, 0, config.head_dim)
        self._allocate(_INITIAL_CAPACITY)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self._fc.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights and of the features that come out."""
        return self._fc.dtype

    def keep(self, length: int) -> None:
        """Forget all but the first ``length`` committed pairs."""
        self.length = length
        self.drop_levels()

    def drop_levels(self) -> None:
        """Forget the drafted levels."""
        self._drafted = self._levels = 0

    def remember(self, embeddings: Tensor, features: Tensor) -> None:
        """Commit n pairs, embeddings and features [n, H], without predicting anything."""
        n = len(embeddings)
        self._append(embeddings, features, slice(self.length, self.length + n))
        self.length += n

    def extend(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Commit n pairs, embeddings and features [n, H], and predict the feature after the last [1, H]."""
        n = len(embeddings)
        x, query = self._append(embeddings, features, slice(self.length, self.length + n))
        self.length += n
        return self._predict(x[-1:], query[-1:], None)

    def extend_level(self, embeddings: Tensor, features: Tensor, ancestors: Tensor) -> Tensor:
        """Add one level of drafted nodes, all at one position, and predict their features [b, H].

        Args:
            embeddings: of the nodes' tokens [b, H].
            features: predicted for their parents [b, H].
            ancestors: which drafted nodes each attends to, its own level the last b columns [b, S] bool.
        """
        position = self.length + self._levels
        x, query = self._append(embeddings, features, slice(position, position + 1))
        self._drafted += len(embeddings)
        self._levels += 1
        return self._predict(x, query, F.pad(ancestors, (self.length, 0), value=True))

    def _append(self, embeddings: Tensor, features: Tensor, positions: slice) -> tuple[Tensor, Tensor]:
        """Write keys and values; return the layer's input [n, H] and the queries [n, heads, head_dim]."""
        config = self._config
        start = self.length + self._drafted
        stop = start + len(embeddings)
        if stop > self._keys.shape[1]:
            self._allocate(max(stop, 2 * self._keys.shape[1]))
        inputs = [
            tensor if weight is None else self._norm(tensor, weight)
            for tensor, weight in zip((embeddings, features), self._input_norms, strict=True)
        ]
        x = F.linear(torch.cat(inputs, dim=-1), self._fc, self._fc_bias)
        kv_heads = config.num_key_value_heads
        heads = config.num_attention_heads + 2 * kv_heads
        qkv = F.linear(x, self._qkv, self._qkv_bias).view(-1, heads, config.head_dim)
        rotated = self._rotate(qkv[:, :-kv_heads], positions)
        self._keys[:, start:stop] = rotated[:, -kv_heads:].transpose(0, 1)
        self._values[:, start:stop] = qkv[:, -kv_heads:].transpose(0, 1)
        return x, rotated[:, :-kv_heads]

    def _predict(self, x: Tensor, query: Tensor, mask: Tensor | None) -> Tensor:
        """Return the features [n, H] for the layer's input [n, H] and its queries [n, heads, head_dim].

        Query heads that share a key head are stacked as rows, so that no key is copied.

        Args:
            x: [n, H].
            query: [n, heads, head_dim].
            mask: which cached pairs each row attends to [n, S] bool; None for all.
        """
        n, stop, groups = len(x), self.length + self._drafted, self._config.num_key_value_heads
        shared = self._config.num_attention_heads // groups
        rows = query.view(n, groups, shared, -1).permute(1, 2, 0, 3).flatten(1, 2)
        mixed = F.scaled_dot_product_attention(
            rows[None],
            self._keys[None, :, :stop],
            self._values[None, :, :stop],
            attn_mask=None if mask is None else mask.repeat(shared, 1),
        )
        mixed = mixed.view(groups, shared, n, -1).permute(2, 0, 1, 3).flatten(1)
        x = x + F.linear(mixed, self._out)
        gate, up = F.linear(self._norm(x, self._mlp_norm), self._gate_up).chunk(2, dim=-1)
        x = x + F.linear(self._activation(gate) * up, self._down)
        return x if self._output_norm is None else self._norm(x, self._output_norm)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self._config.rms_norm_eps)

    def _rotate(self, x: Tensor, positions: slice) -> Tensor:
        """Return ``x`` [n, heads, head_dim] rotated; the sign of the swapped half is in the sine table."""
        swapped = x.roll(self._config.head_dim // 2, dims=-1)
        return torch.addcmul(x * self._cos[positions], swapped, self._signed_sin[positions])

    def _allocate(self, capacity: int) -> None:
        """Make room for ``capacity`` pairs, keeping those in the cache, and tabulate their rotations."""
        config = self._config
        shape = (config.num_key_value_heads, capacity, config.head_dim)
        keys, values = (torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(2))
        used = self.length + self._drafted
        keys[:, :used] = self._keys[:, :used]
        values[:, :used] = self._values[:, :used]
        self._keys, self._values = keys, values
        cos, sin = rotary_tables(config, torch.arange(capacity, device=self.device))
        sin[:, : config.head_dim // 2].neg_()
        self._cos, self._signed_sin = cos.to(self.dtype)[:, None], sin.to(self.dtype)[:, None]
