"""The EAGLE head at inference: fused weights, and a KV cache that drafted levels extend and leave again.

With one layer, keys and values depend on the inputs alone. So pairs that nobody asks a feature of need no
attention and no MLP.

The cache has two parts. Drafted nodes stand in front, at columns that depend on their level alone, the first
level next to the committed pairs; committed pairs follow in order. So a level attends to one contiguous
range, whose size changes only when the committed pairs outgrow a span, and every shape of a draft step is
known beforehand. An induction head's key belongs to the pair after it: a pair writes it one column on.
Shapes: n pairs, P pairs of a step at most, b beams, L levels, S = b * L drafted nodes, H hidden.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from specframe.ops.packed_linear import PackedLinear
from specframe_plugins.drafters.eagle.inputs import StepInputs
from specframe_plugins.drafters.eagle.model import ACTIVATIONS, EagleConfig, EagleHead, rotary_tables

_INITIAL_CAPACITY = 1024
_SMALLEST_SPAN = 64


class CachedLayer(ABC):
    """One decoder layer over embeddings and features, one sequence at a time, with keys and values kept.

    What EAGLE-2 and EAGLE-3 do differently before and after the layer is in the methods ``fuse``, ``_join``
    and ``for_head`` of their subclasses.

    Args:
        config: the head's sizes.
        weights: of the layer, by their names in it, on the device and in the dtype to run with; copied.
        feature_size: F, the width of the target's features.
        beams: b, nodes of every drafted level.
        levels: L, the drafted levels that may be added between two commits.

    Attributes:
        length: committed pairs in the cache.
        front: S, the columns before the first committed pair.
        feature_size: F.
        beams: b.
    """

    def __init__(
        self,
        config: EagleConfig,
        weights: Mapping[str, Tensor],
        *,
        feature_size: int,
        beams: int,
        levels: int,
    ) -> None:
        self._config = config
        self.feature_size = feature_size
        self._mlp_norm = weights["post_attention_layernorm.weight"]
        self.device, self.dtype = self._mlp_norm.device, self._mlp_norm.dtype
        self._groups = config.num_key_value_heads
        self._ordinary = self._groups - config.induction_groups
        self._shared = config.num_attention_heads // self._groups  # query heads per key head
        self._qkv = PackedLinear(
            self._rotated_first([weights[f"self_attn.{x}_proj.weight"] for x in "qkv"]),
            self._rotated_first([weights[f"self_attn.{x}_proj.bias"] for x in "qkv"])
            if config.attention_bias
            else None,
        )
        self._out = PackedLinear(weights["self_attn.o_proj.weight"])
        self._gate_up = PackedLinear(torch.cat([weights[f"mlp.{x}_proj.weight"] for x in ("gate", "up")]))
        self._down = PackedLinear(weights["mlp.down_proj.weight"])
        self._activation = ACTIVATIONS[config.hidden_act]
        self.beams = beams
        self.front = beams * levels
        self._level_starts: list[int] = []  # columns of the drafted levels
        self.length = 0
        self._cache = torch.zeros(
            2, self._groups, self.front + 1, config.head_dim, dtype=self.dtype, device=self.device
        )
        self._eye = self._floor(~torch.eye(beams, dtype=torch.bool, device=self.device))[:, None]
        self._allocate(span_of(_INITIAL_CAPACITY))

    def fuse(self, features: Tensor) -> Tensor:
        """Return the features that the layer reads [n, H] for those of the target [n, F]."""
        return features

    def for_head(self, predicted: Tensor) -> Tensor:
        """Return what the LM head reads [n, H] for predicted features [n, H]."""
        return predicted

    @abstractmethod
    def _join(self, embeddings: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the residual starts [n, H] and what the attention reads [n, ...]."""

    def _finish(self, x: Tensor) -> Tensor:
        """Return the predicted features [n, H] for the layer's output [n, H]."""
        return x

    def keep(self, length: int) -> None:
        """Forget all but the first ``length`` committed pairs."""
        self.length = length
        following = self._induction_keys[:, self.front + length].clone()
        # What a mask hides must be finite.
        self._cache[:, :, : self.front] = 0
        self._cache[:, :, self.front + length :] = 0
        if length:
            self._induction_keys[:, self.front + length] = following

    def reserve(self, pairs: int) -> bool:
        """Make room for ``pairs`` more; return whether the cache had to move."""
        needed = self.length + pairs + 1  # the last one writes one column on
        if needed <= self._capacity:
            return False
        self._allocate(span_of(max(needed, 2 * self._capacity)))
        return True

    def remember(self, embeddings: Tensor, features: Tensor) -> None:
        """Commit n pairs, embeddings [n, H] and the target's features [n, F], without predicting anything."""
        n = len(embeddings)
        self.reserve(n)
        first, end = self.front + self.length, self.front + self.length + n
        _, _, key, value = self._project(embeddings, self.fuse(features), self._rotations[first:end])
        self._values[:, first:end] = value
        self._ordinary_keys[:, first:end] = key[: self._ordinary]
        self._induction_keys[:, first + 1 : end + 1] = key[self._ordinary :]
        self.length += n

    def commit(self, embeddings: Tensor, features: Tensor, inputs: StepInputs, span: int) -> Tensor:
        """Write P pairs, embeddings [P, H] and features [P, F]; predict the feature after the last [1, H].

        The host counts them afterwards: ``length`` stays.

        Args:
            embeddings: of the pairs' tokens; those behind the last pair are masked.
            features: likewise.
            inputs: where they stand.
            span: how many committed pairs are looked at, those of this step included; the rest is masked.
        """
        self._span = span
        self._step_rotations = self._rotations.index_select(0, inputs.columns)
        self._committed, self._level_starts = inputs.committed, []
        self._hide_committed(level=0)
        rotations = self._step_rotations[: inputs.pairs]
        x, query, key, value = self._project(embeddings, self.fuse(features), rotations)
        columns = inputs.columns[: inputs.pairs]
        self._values.index_copy_(1, columns, value)
        self._ordinary_keys.index_copy_(1, columns, key[: self._ordinary])
        if self._ordinary < self._groups:
            self._induction_keys.index_copy_(1, columns + 1, key[self._ordinary :])
            self._following = self._induction_keys.index_select(1, inputs.committed)
        self._pairs, self._drafted_from = inputs.pairs, self.front
        return self._predict(
            x.index_select(0, inputs.last), query.index_select(0, inputs.last), self.front, self._mask[:1]
        )

    def extend_level(self, embeddings: Tensor, features: Tensor, rows: Tensor, level: int) -> Tensor:
        """Add a level of drafted nodes, all at one position, and predict their features [b, H].

        Args:
            embeddings: of the nodes' tokens [b, H].
            features: predicted for their parents [b, H].
            rows: each node's parent as a row of the level before [b] int64; not looked at for the first.
            level: 1 for the children of the last committed pair.
        """
        beams, end = len(embeddings), self._drafted_from
        first = self._drafted_from = end - beams
        rotation = self._step_rotations[self._pairs + level - 1]
        x, query, key, value = self._project(embeddings, features, rotation)
        self._values[:, first:end] = value
        self._ordinary_keys[:, first:end] = key[: self._ordinary]
        if self._ordinary < self._groups:
            following = self._following if level == 1 else self._following.index_select(1, rows)
            self._induction_keys[:, first:end] = following
            self._following = key[self._ordinary :]
        if level > 1:
            ancestors = self._mask[:, 0, end : self.front].index_select(0, rows)
            self._mask[:beams, :, end : self.front] = ancestors[:, None]
        if self._config.sliding_window is not None:
            self._hide_committed(level)
            too_old = level - self._config.sliding_window
            if too_old > 0:
                self._mask[:beams, :, self._level_starts[too_old - 1] : self.front] = -torch.inf
        self._level_starts.append(first)
        self._mask[:beams, :, first:end] = self._eye[:beams, :, :beams]
        return self._predict(x, query, first, self._mask[:beams])

    def _hide_committed(self, level: int) -> None:
        """Mask the committed pairs that nodes of a level do not see: later ones, and those too long ago."""
        columns = self._columns[: self._span]
        hidden = columns >= self._committed
        if self._config.sliding_window is not None:
            hidden = hidden | (columns < self._committed + level - self._config.sliding_window)
        self._mask[:, :, self.front : self.front + self._span].copy_(self._floor(hidden))

    def _project(
        self, embeddings: Tensor, features: Tensor, rotations: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return where the residual starts, queries, keys and values.

        They are [n, H], [n, heads, head_dim], and twice [groups, n, head_dim].

        Args:
            embeddings: [n, H].
            features: [n, H].
            rotations: cosines, then sines [n, 1, 2 * head_dim], or of one position for all.
        """
        config = self._config
        x, joined = self._join(embeddings, features)
        heads = config.num_attention_heads
        qkv = self._qkv(joined).view(len(x), heads + 2 * self._groups, config.head_dim)
        queries, keys = self._ordinary * self._shared, self._ordinary
        rotated, query, key, value = qkv.split(
            [queries + keys, heads - queries, self._groups - keys, self._groups], dim=1
        )
        # The sign of the swapped half is in the sines.
        swapped = rotated.roll(config.head_dim // 2, dims=-1)
        cos, sin = rotations.split(config.head_dim, dim=-1)
        rotated = torch.addcmul(rotated * cos, swapped, sin)
        if keys == self._groups:
            query, key = rotated.split([queries, keys], dim=1)
        else:
            query = torch.cat((rotated[:, :queries], query), dim=1)
            key = torch.cat((rotated[:, queries:], key), dim=1)
        return x, query, key.transpose(0, 1), value.transpose(0, 1)

    def _rotated_first(self, qkv: list[Tensor]) -> Tensor:
        """Return the rows of the projections [heads * head_dim, ...] as one: those that are rotated first."""
        query, key, value = qkv
        rows = self._ordinary * self._config.head_dim
        queries = rows * self._shared
        return torch.cat((query[:queries], key[:rows], query[queries:], key[rows:], value))

    def _predict(self, x: Tensor, query: Tensor, first: int, mask: Tensor) -> Tensor:
        """Return the features [n, H] for the layer's input [n, H] and its queries [n, heads, head_dim].

        Query heads that share a key head are stacked as rows, so that no key is copied.

        Args:
            x: [n, H].
            query: [n, heads, head_dim].
            first: the first column to attend to.
            mask: added to the scores of every column [n, shared, S + capacity].
        """
        n, groups, shared = len(x), self._groups, self._shared
        columns = slice(first, self.front + self._span)
        rows = query.reshape(n, groups, shared, -1).transpose(0, 1).reshape(groups, n * shared, -1)
        mixed = F.scaled_dot_product_attention(
            rows[None],
            self._keys[None, :, columns],
            self._values[None, :, columns],
            attn_mask=mask.view(n * shared, -1)[:, columns],
        )
        mixed = mixed.view(groups, n, shared, -1).transpose(0, 1).reshape(n, -1)
        x = x + self._out(mixed)
        gate, up = self._gate_up(self._norm(x, self._mlp_norm)).chunk(2, dim=-1)
        return self._finish(x + self._down(self._activation(gate) * up))

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self._config.rms_norm_eps)

    def _floor(self, hidden: Tensor) -> Tensor:
        """Return -inf where ``hidden`` (bool), else 0, in the head's dtype."""
        return torch.zeros_like(hidden, dtype=self.dtype).masked_fill_(hidden, -torch.inf)

    def _allocate(self, capacity: int) -> None:
        """Make room for ``capacity`` pairs, keeping the committed ones, and tabulate their rotations."""
        config, columns = self._config, self.front + capacity
        cache = self._cache.new_zeros(2, self._groups, columns, config.head_dim)
        used = slice(self.front, self.front + self.length + 1)
        cache[:, :, used] = self._cache[:, :, used]
        self._capacity, self._cache = capacity, cache
        self._keys, self._values = cache[0], cache[1]
        self._ordinary_keys, self._induction_keys = self._keys[: self._ordinary], self._keys[self._ordinary :]
        self._columns = torch.arange(self.front, columns, device=self.device)
        self._mask = torch.zeros(self.beams, self._shared, columns, dtype=self.dtype, device=self.device)
        cos, sin = rotary_tables(
            config, (torch.arange(columns, device=self.device) - self.front).clamp(min=0)
        )
        sin[:, : config.head_dim // 2].neg_()
        self._rotations = torch.cat((cos, sin), dim=-1).to(self.dtype)[:, None]


class CachedHead(CachedLayer):
    """Computes what ``EagleHead`` computes.

    Args:
        head: on the device and in the dtype to run with; its weights are copied.
        beams: b, nodes of every drafted level.
        levels: L, the drafted levels that may be added between two commits.
    """

    def __init__(self, head: EagleHead, *, beams: int = 1, levels: int = 0) -> None:
        weights = {name: parameter.detach() for name, parameter in head.named_parameters()}
        self._fc = PackedLinear(weights["fc.weight"], weights.get("fc.bias"))
        self._input_norms = [weights.get(f"{name}.weight") for name in ("embedding_norm", "feature_norm")]
        self._output_norm = weights.get("norm.weight")
        super().__init__(
            head.config,
            layer_weights(weights, "layers.0."),
            feature_size=head.config.hidden_size,
            beams=beams,
            levels=levels,
        )

    def _join(self, embeddings: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        inputs = [
            tensor if weight is None else self._norm(tensor, weight)
            for tensor, weight in zip((embeddings, features), self._input_norms, strict=True)
        ]
        x = self._fc(torch.cat(inputs, dim=-1))
        return x, x

    def _finish(self, x: Tensor) -> Tensor:
        return x if self._output_norm is None else self._norm(x, self._output_norm)


def layer_weights(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the weights whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def span_of(pairs: int) -> int:
    """Return the smallest span that holds ``pairs``: at most an eighth longer, and few different ones."""
    step = max(_SMALLEST_SPAN, (1 << (pairs - 1).bit_length()) // 8)
    return -(-pairs // step) * step
