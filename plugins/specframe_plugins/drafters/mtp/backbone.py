"""An MTP layer as the backbone of a draft step: pairs of a token and a feature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from specframe_plugins.drafters.mtp.model import MtpForward

# Pairs of a prompt that are read at once: bounds the memory of what lies between.
_CHUNK = 512


class MtpBackbone:
    """The ``Backbone`` of a draft step over an MTP layer, which is run once for every level.

    Args:
        forward: runs the layer.
        embed_tokens: the embedding.
        beams: b, nodes of every drafted level.
        levels: drafted levels that go through the layer.
    """

    def __init__(self, forward: MtpForward, embed_tokens: nn.Module, *, beams: int, levels: int) -> None:
        self.device = forward.device
        self._forward, self._embed_tokens = forward, embed_tokens
        self._drafted = beams * levels
        self._eye = torch.eye(beams, dtype=torch.bool, device=self.device)
        self._ids = torch.zeros(1, dtype=torch.int64, device=self.device)

    @property
    def committed(self) -> int:
        """How many pairs were read for good."""
        return self._forward.committed

    def keep(self, length: int) -> None:
        """Forget all but the first ``length`` pairs."""
        self._forward.keep(length)

    def remember(self, token_ids: Tensor, features: Tensor) -> None:
        """Read pairs, tokens [n] and features [n, H], that nothing is drafted from."""
        if not len(token_ids):
            return
        for ids, part in zip(token_ids.split(_CHUNK), features.split(_CHUNK), strict=True):
            self._forward.commit(self._embed(ids), part.to(self._forward.dtype))

    def emit(self, ids: Sequence[int], features: Tensor) -> None:
        """Take the pairs since the last step, at least one, for the next one to read."""
        self._ids = torch.tensor(ids).to(self.device, non_blocking=True)
        self._features = features.to(self._forward.dtype)

    @property
    def root(self) -> Tensor:
        """The last token emitted [1] int64."""
        return self._ids[-1:]

    def read(self) -> Tensor:
        """Read the pairs for good, as in ``Backbone``."""
        self._forward.reserve(len(self._ids) + self._drafted)
        self._predicted = self._forward.commit(self._embed(self._ids), self._features)[-1:]
        self._mask, self._depths = self._eye[:1, :0], self._ids[:0]
        return self._predicted

    def extend(self, token_ids: Tensor, rows: Tensor, level: int) -> Tensor:
        """Add a level with what was predicted for its parents, as in ``Backbone``."""
        width = len(token_ids)
        self._mask = torch.cat((self._mask.index_select(0, rows), self._eye[:width, :width]), dim=1)
        self._depths = torch.cat((self._depths, torch.full_like(token_ids, level - 1)))
        self._predicted = self._forward.run(
            self._embed(token_ids), self._predicted.index_select(0, rows), self._depths, self._mask
        )
        return self._predicted

    def _embed(self, token_ids: Tensor) -> Tensor:
        embeddings: Tensor = self._embed_tokens(token_ids)
        return embeddings.to(self._forward.dtype)
