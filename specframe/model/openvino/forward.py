"""The forward ``openvino``: a decoder as one compiled graph over a cache of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openvino as ov
import torch
from torch import Tensor

from specframe.model.lean.attention import Visible
from specframe.model.lean.cache import LeanCache
from specframe.model.lean.parts import DecoderParts
from specframe.model.lean.rotary import RotaryTables
from specframe.model.openvino.graph import DecoderGraph

# Positions of a cache that a new request takes over, and how many a cache grows by at most.
_SMALL, _GROWTH = 512, 1024


class OpenVinoForward:
    """Runs a decoder in float32, one sequence at a time.

    The graph sees the whole cache and a mask, so that its shapes change with the number of new tokens and,
    every few hundred tokens, with the cache's size. New keys and values come back and are written into the
    cache here.

    Args:
        parts: of the decoder, on the CPU in float32; their weights are copied.
        windows: the sliding window per layer type; the key "" stands for models with one type of layer.
    """

    def __init__(self, parts: DecoderParts, windows: Mapping[str, int | None]) -> None:
        config, facts = parts.config, parts.facts
        self._kinds = list(getattr(config, "layer_types", None) or [""] * config.num_hidden_layers)
        self._windows = {kind: windows[kind] for kind in dict.fromkeys(self._kinds)}
        self._embed, self._parts = parts.embed, parts
        self._rotary = RotaryTables(facts.frequencies, torch.float32, torch.device("cpu"))
        groups = int(config.num_key_value_heads)
        self._shared = int(config.num_attention_heads) // groups
        self._sizes = len(self._kinds), groups, facts.head_dim
        self._settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": "1",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": "NO",
        }
        self._new_cache()
        self._features: tuple[int, ...] = ()
        self._compile(())

    @property
    def committed(self) -> int:
        """Positions committed."""
        return self._cache.committed

    def begin(self, capacity: int, keep: int = 0) -> None:
        """Forget all but the first ``keep`` positions; the cache grows when it has to."""
        if not keep and self._cache.capacity > _SMALL:
            self._new_cache()  # the graph reads all of it at every pass
        self._reserve(max(keep, 1), keep)

    def run(
        self, ids: Tensor, positions: Tensor, mask: Tensor, feature_layers: tuple[int, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return the last hidden states [n, H] and the features [n, F] of n new tokens.

        Positions [m], mask [n, m] and features are those of ``specframe.model.forward.Forward``.
        """
        (n, m), committed = mask.shape, self.committed
        if feature_layers != self._features:
            self._compile(feature_layers)
        self._reserve(committed + m, committed)
        rotations = self._rotary.at(positions[-n:])
        inputs = [self._embed(ids).float()]
        for kind, window in self._windows.items():
            inputs += [*rotations[kind], self._scores(positions, mask, window)]
        for index, values in enumerate(inputs):
            self._request.set_input_tensor(index, _shared(values.contiguous()))
        self._request.infer()
        hidden, new, *features = (
            torch.from_numpy(self._request.get_output_tensor(index).data)
            for index in range(2 + len(feature_layers))
        )
        self._cache.data[:, :, :, committed + m - n : committed + m] = new
        hidden = hidden.clone()  # the next pass writes over it
        return hidden, torch.cat(features, dim=-1) if features else hidden

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the nodes of ``path``, in order, and forget the other nodes run since the last commit."""
        self._cache.commit(path)

    def _scores(self, positions: Tensor, mask: Tensor, window: int | None) -> Tensor:
        """Return what is added to the scores [n * shared, capacity + n]: 0 for what is seen, else -inf."""
        n, capacity = len(mask), self._cache.capacity
        seen = Visible.of(positions, mask, self.committed, window, self._shared, torch.float32)
        old = seen.stop - seen.first - n
        added = torch.full((n * self._shared, capacity + n), -torch.inf)
        visible = torch.zeros(len(added), old + n) if seen.mask is None else seen.mask
        added[:, seen.first : seen.first + old] = visible[:, :old]
        added[:, capacity:] = visible[:, old:]
        return added

    def _reserve(self, capacity: int, keep: int) -> None:
        """Make room for ``capacity`` positions and keep the first ones."""
        if capacity > self._cache.capacity:
            capacity = max(capacity, min(2 * self._cache.capacity, self._cache.capacity + _GROWTH))
        if self._cache.begin(capacity, keep):
            self._rotary.extend(self._cache.capacity)
            self._bind()

    def _new_cache(self) -> None:
        self._cache = LeanCache(*self._sizes, torch.float32, torch.device("cpu"))

    def _compile(self, features: tuple[int, ...]) -> None:
        """Compile the graph that returns the inputs of these layers too."""
        graph = DecoderGraph(self._parts, self._kinds, features)
        compiled = ov.Core().compile_model(graph.model, "CPU", self._settings)
        del graph
        self._parts.taken()
        self._request, self._features = compiled.create_infer_request(), features
        self._first_cached = 1 + 3 * len(self._windows)
        self._bind()

    def _bind(self) -> None:
        """Let the graph read the cache where it is."""
        if self._cache.capacity:
            for index, cached in enumerate(self._cache.data.flatten(0, 1)):
                self._request.set_input_tensor(self._first_cached + index, _shared(cached))


def _shared(values: Tensor) -> ov.Tensor:
    return ov.Tensor(values.numpy(), shared_memory=True)
