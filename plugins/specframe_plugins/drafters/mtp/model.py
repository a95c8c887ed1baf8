"""A multi-token-prediction (MTP) layer: a layer of the target's kind over pairs of embedding and feature.

Source: DeepSeek-V3 (arXiv 2412.19437, section 2.2). As in transformers, vLLM and SGLang, the feature is the
target's output after its final norm, and the layer's own output after its last norm is read by the LM head
and by the next depth.
Shapes: n pairs, m nodes, H hidden.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from specframe.errors import CheckpointError
from specframe.model.kv_cache import TreeCache, cache_argument

FULL_ATTENTION = "full_attention"


class MtpHead(nn.Module):
    """The weights of an MTP layer; ``block`` and the norms are of the target's own classes.

    Args:
        decoder: the target's decoder.
        config: of its text part.

    Raises:
        CheckpointError: the target's layers cannot be made one by one.
    """

    def __init__(self, decoder: Any, config: Any) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        layer, norm = type(decoder.layers[-1]), type(decoder.norm)
        try:
            self.enorm, self.hnorm, self.norm = (norm(hidden, eps=eps) for _ in range(3))
            self.eh_proj = nn.Linear(2 * hidden, hidden, bias=False)
            self.block = layer(_config_of_the_layer(config), 0)
        except Exception as error:  # code of any model
            raise CheckpointError(
                f"layers of {type(decoder).__name__} cannot be made one by one ({error}); allowed for MTP: "
                "models like DeepSeek-V3, GLM-4.5 and Qwen3"
            ) from error

    def join(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Return what the layer reads [n, H] for embeddings [n, H] and features [n, H]."""
        joined: Tensor = self.eh_proj(torch.cat((self.enorm(embeddings), self.hnorm(features)), dim=-1))
        return joined


def _config_of_the_layer(config: Any) -> Any:
    """Return the config under which a target's layer 0 is its MTP layer: full attention, experts."""
    own = copy.deepcopy(config)
    for name, value in (
        ("layer_types", [FULL_ATTENTION]),
        ("mlp_layer_types", ["sparse"]),
        ("first_k_dense_replace", 0),
        ("mlp_only_layers", []),
        ("num_hidden_layers", 1),
    ):
        if getattr(own, name, None) is not None:
            setattr(own, name, value)
    return own


class MtpForward:
    """Runs an MTP layer over a cache that trees can be rolled back in, one sequence at a time.

    Args:
        head: the layer, on the device and in the dtype to run with.
        rotary: the target's rotations: states [1, n, H] and positions [1, n] to cosines and sines.
        masks_are_bool: whether its attention takes masks of truth values, not numbers to add.
    """

    def __init__(self, head: MtpHead, rotary: nn.Module, masks_are_bool: bool) -> None:
        self._head, self._rotary, self._masks_are_bool = head, rotary, masks_are_bool
        self._cache = TreeCache(1, 0)
        self._cache_argument = cache_argument(head.block)
        weight = head.eh_proj.weight
        self.device, self.dtype = weight.device, weight.dtype

    @property
    def committed(self) -> int:
        """How many pairs were read for good."""
        return self._cache.committed

    def keep(self, length: int) -> None:
        """Forget all but the first ``length`` pairs."""
        self._cache.keep(length)

    def reserve(self, pairs: int) -> None:
        """Make room for ``pairs`` more."""
        needed = self.committed + pairs
        if needed > self._cache.capacity:
            self._cache.grow(max(needed, 2 * self._cache.capacity))

    def commit(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Read n pairs in a row for good; return what each predicts [n, H]."""
        n = len(embeddings)
        self.reserve(n)
        mask = torch.ones(n, n, dtype=torch.bool, device=self.device).tril()
        predicted = self.run(embeddings, features, torch.arange(n, device=self.device), mask)
        self._cache.commit(tuple(range(n)))
        return predicted

    def run(self, embeddings: Tensor, features: Tensor, depths: Tensor, mask: Tensor) -> Tensor:
        """Return what n nodes predict [n, H], the last n of m since the last commit.

        Args:
            embeddings: of their tokens [n, H].
            features: of their parents [n, H].
            depths: of all m nodes, 0 for the first after the committed pairs [m] int64.
            mask: which of the m nodes each sees [n, m] bool; all see the committed pairs.
        """
        n, committed = len(embeddings), self.committed
        self._cache.write_behind(len(depths) - n)
        seen = torch.cat((mask.new_ones(n, committed), mask), dim=1)[None, None]
        if not self._masks_are_bool:
            floor = torch.finfo(self.dtype).min
            seen = torch.zeros(seen.shape, dtype=self.dtype, device=self.device).masked_fill(~seen, floor)
        x = self._head.join(embeddings, features)[None]
        positions = (committed + depths[-n:])[None]
        out = self._head.block(
            x,
            attention_mask=seen,
            position_ids=positions,
            use_cache=True,
            position_embeddings=self._rotary(x, positions),
            **{self._cache_argument: self._cache},
        )
        normed: Tensor = self._head.norm(out[0] if isinstance(out, Tensor) else out[0][0])
        return normed
