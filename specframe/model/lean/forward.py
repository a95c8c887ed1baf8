"""The lean forward: a decoder's layers over one preallocated cache."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from specframe.model.forward import LeftOut
from specframe.model.lean.architecture import FAMILIES
from specframe.model.lean.attention import Visible
from specframe.model.lean.cache import LeanCache
from specframe.model.lean.layer import LeanLayer, Memory
from specframe.model.lean.norm import RmsNorm
from specframe.model.lean.parts import DecoderParts
from specframe.model.lean.rotary import RotaryTables


class LeanForward:
    """Runs a decoder that ``architecture.why_not`` has nothing against, one sequence at a time.

    Args:
        parts: of the decoder; the layers' weights are copied, so later changes to them do not count.
        windows: the sliding window per layer type; the key "" stands for models with one type of layer.
    """

    def __init__(self, parts: DecoderParts, windows: Mapping[str, int | None]) -> None:
        config, facts = parts.config, parts.facts
        family = FAMILIES[config.model_type]
        kinds = list(getattr(config, "layer_types", None) or [""] * config.num_hidden_layers)
        self._embed = parts.embed
        self._layers: list[LeanLayer] = []
        for index, kind in enumerate(kinds):
            self._layers.append(LeanLayer(index, parts, family, kind))
            parts.taken()
        last_norm = parts.weight("norm.weight")
        assert last_norm is not None
        self._norm = RmsNorm(last_norm.float() + family.norm_offset, float(config.rms_norm_eps))
        self._windows = {kind: windows[kind] for kind in dict.fromkeys(kinds)}
        self._rotary = RotaryTables(facts.frequencies, parts.dtype, parts.device)
        heads = config.num_key_value_heads
        self._shared = config.num_attention_heads // heads
        self._cache = LeanCache(len(kinds), heads, facts.head_dim, parts.dtype, parts.device)

    @property
    def committed(self) -> int:
        """Positions committed."""
        return self._cache.committed

    def begin(self, capacity: int, keep: int = 0) -> None:
        """Make room for ``capacity`` positions and forget all but the first ``keep``."""
        if self._cache.begin(capacity, keep):
            self._rotary.extend(self._cache.capacity)

    def run(
        self, ids: Tensor, positions: Tensor, mask: Tensor, feature_layers: tuple[int, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return the last hidden states [n, H] and the features [n, F] of n new tokens.

        Positions [m], mask [n, m] and features are those of ``specframe.model.forward.Forward``.
        """
        x: Tensor = self._embed(ids)
        rotations = self._rotary.at(positions[-len(ids) :])
        memories = self._memories(positions, mask)
        inputs: dict[int, Tensor] = {}
        for index, layer in enumerate(self._layers):
            if index in feature_layers:
                inputs[index] = x
            x = layer(x, rotations[layer.kind], memories[index])
        inputs[len(self._layers)] = x
        hidden = self._norm(x)
        if not feature_layers:
            return hidden, hidden
        return hidden, torch.cat([inputs[index] for index in feature_layers], dim=-1)

    def why_whole(self) -> str | None:
        """Return None: any part of any layer can be left out."""
        return None

    def run_partly(
        self, ids: Tensor, positions: Tensor, mask: Tensor, left_out: LeftOut, context: int | None = None
    ) -> Tensor:
        """Return the last hidden states [n, H] of n new tokens, as in ``PartialForward``."""
        x: Tensor = self._embed(ids)
        rotations = self._rotary.at(positions[-len(ids) :])
        memories = self._memories(positions, mask, context)
        for index, layer in enumerate(self._layers):
            if index not in left_out.attention:
                x = layer.attention(x, rotations[layer.kind], memories[index])
            if index not in left_out.mlp:
                x = layer.mlp(x)
        return self._norm(x)

    def _memories(self, positions: Tensor, mask: Tensor, context: int | None = None) -> list[Memory]:
        """Return what every layer reads and writes of the cache, for n new tokens as in ``run``."""
        cache, stop = self._cache, self._cache.committed + len(positions)
        new_keys, new_values = cache.slots(stop - len(mask), stop)
        seen = {}
        for kind, window in self._windows.items():
            visible = Visible.of(
                positions, mask, cache.committed, window, self._shared, cache.data.dtype, context
            )
            seen[kind] = *cache.slots(visible.first, visible.stop), visible.mask
        memories = []
        for index, layer in enumerate(self._layers):
            keys, values, added = seen[layer.kind]
            memories.append(Memory(new_keys[index], new_values[index], keys[index], values[index], added))
        return memories

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the nodes of ``path``, in order, and forget the other nodes run since the last commit."""
        self._cache.commit(path)
