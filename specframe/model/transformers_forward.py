"""The model's own decoder as a forward: for every model type, with masks and cache made here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from specframe.errors import UsageError
from specframe.model.borrowed import evaluating
from specframe.model.decoder_layers import last_norm, name_of_layers
from specframe.model.forward import LeftOut
from specframe.model.kv_cache import TreeCache, cache_argument
from specframe.model.sublayers import Sublayers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersForward:
    """Calls the transformers decoder with a mask per layer type and a cache that trees can be rolled back in.

    Args:
        model: the model.
        windows: the sliding window per layer type; the key "" stands for models that take one mask.
    """

    def __init__(self, model: PreTrainedModel, windows: Mapping[str, int | None]) -> None:
        self._config: Any = model.config.get_text_config()
        self._decoder: Any = model.get_decoder()
        self._modules = tuple(self._decoder.modules())
        self._cache_argument = cache_argument(self._decoder)
        self._device, self._dtype = model.device, model.dtype
        self._windows = windows
        self._cache = TreeCache(self._config.num_hidden_layers, 0)
        self._sublayers: Sublayers | None = None

    @property
    def committed(self) -> int:
        """Positions committed."""
        return self._cache.committed

    def begin(self, capacity: int, keep: int = 0) -> None:
        """Make room for ``capacity`` positions and forget all but the first ``keep``."""
        if self._cache.capacity < capacity and not keep:
            self._cache = TreeCache(self._config.num_hidden_layers, capacity)
        self._cache.keep(keep)
        self._cache.grow(capacity)

    def run(
        self, ids: Tensor, positions: Tensor, mask: Tensor, feature_layers: tuple[int, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return the last hidden states [n, H] and the features [n, F] of n new tokens.

        Positions [m], mask [n, m] and features are those of ``specframe.model.forward.Forward``.
        """
        with LayerTaps(self._decoder, feature_layers) as taps:
            hidden = self._run(ids, positions, mask)
        return hidden, taps.features() if feature_layers else hidden

    def why_whole(self) -> str | None:
        """Return why no part of this model's layers can be left out, or None."""
        return Sublayers.why_not(self._decoder, self._config.num_hidden_layers)

    def run_partly(
        self, ids: Tensor, positions: Tensor, mask: Tensor, left_out: LeftOut, context: int | None = None
    ) -> Tensor:
        """Return the last hidden states [n, H] of n new tokens, as in ``PartialForward``."""
        if self._sublayers is None:
            self._sublayers = Sublayers(self._decoder, self._config.num_hidden_layers)
            with self._sublayers.watched():
                self._run(ids, positions, mask)
        with self._sublayers.without(left_out):
            return self._run(ids, positions, mask, context)

    def _run(self, ids: Tensor, positions: Tensor, mask: Tensor, context: int | None = None) -> Tensor:
        self._cache.write_behind(len(positions) - len(ids))
        context = self.committed if context is None else context
        masks = {
            kind: self._attention_mask(positions, mask, window, context)
            for kind, window in self._windows.items()
        }
        # Its owner may train it between two passes.
        with evaluating(self._modules):
            output = self._decoder(
                input_ids=ids[None],
                position_ids=positions[None, -len(ids) :],
                attention_mask=masks.get("", masks),
                use_cache=True,
                **{self._cache_argument: self._cache},
            )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the nodes of ``path``, in order, and forget the other nodes run since the last commit."""
        self._cache.commit(path)

    def _attention_mask(self, positions: Tensor, mask: Tensor, window: int | None, context: int) -> Tensor:
        """Return who sees whom [1, 1, n, committed + m]: bool for SDPA, additive for other attention."""
        committed = self._cache.committed
        n, m = mask.shape
        visible = torch.ones(n, committed + m, dtype=torch.bool, device=self._device)
        visible[:, context:committed] = False
        visible[:, committed:] = mask
        if window is not None:
            key_positions = torch.cat([torch.arange(committed, device=self._device), positions])
            visible &= key_positions[None] > positions[-n:, None] - window
        if self._config._attn_implementation == "sdpa":
            return visible[None, None]
        floor = torch.finfo(self._dtype).min
        return torch.zeros(visible.shape, dtype=self._dtype, device=self._device).masked_fill(
            ~visible, floor
        )[None, None]


class LayerTaps:
    """Keeps the inputs of some layers of a pass: what the decoder returns as hidden states differs by model.

    Args:
        decoder: with a list of its layers, then a norm.
        layers: indices; the number of layers stands for the input of the final norm.

    Raises:
        UsageError: the decoder keeps them where they are not found.
    """

    def __init__(self, decoder: Any, layers: tuple[int, ...]) -> None:
        self._layers = layers
        count = decoder.config.num_hidden_layers
        own = getattr(decoder, name_of_layers(decoder, count)) if layers else ()
        self._modules = {index: last_norm(decoder) if index == count else own[index] for index in layers}
        self._handles: list[RemovableHandle] = []
        self._inputs: dict[int, Tensor] = {}

    def __enter__(self) -> LayerTaps:
        for index, module in self._modules.items():
            keep = partial(self._keep, index)
            self._handles.append(module.register_forward_pre_hook(keep, with_kwargs=True))
        return self

    def __exit__(self, *failure: object) -> None:
        for handle in self._handles:
            handle.remove()

    def features(self) -> Tensor:
        """Return the inputs [1, n, H] of the layers side by side [n, F].

        Raises:
            UsageError: a layer reads something else.
        """
        shapes = {tuple(state.shape[:-1]) for state in self._inputs.values()}
        if len(shapes) > 1 or len(min(shapes)) != 2:
            raise UsageError("the layers read several states of a token; allowed here: decoders of one")
        return torch.cat([self._inputs[index][0] for index in self._layers], dim=-1)

    def _keep(self, index: int, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._inputs[index] = args[0] if args else kwargs["hidden_states"]
