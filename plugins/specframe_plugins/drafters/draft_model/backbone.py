"""A language model that reads what was emitted and, level by level, what is drafted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from specframe.model.forward import append
from specframe.model.language_model import LanguageModel

_INITIAL_CAPACITY = 1024

# Tokens of a prompt that are read at once: bounds the memory of what lies between the layers.
_CHUNK = 512


class ModelBackbone:
    """The ``Backbone`` of a draft step over a language model's layers.

    Args:
        model: the language model.
        beams: b, nodes of every drafted level.
        levels: drafted levels that go through the model.
    """

    def __init__(self, model: LanguageModel, *, beams: int, levels: int) -> None:
        self.device = model.device
        self._forward = model.forward
        # The target may have more ids, most of them padding; the last known one is read in their place.
        embedding: Any = model.embed_tokens
        self._largest_id = int(embedding.weight.shape[0]) - 1
        self._capacity = 0
        self._drafted = beams * levels
        self._depths = torch.empty(0, dtype=torch.int64, device=self.device)
        self._eye = torch.eye(beams, dtype=torch.bool, device=self.device)
        self._ids = torch.zeros(1, dtype=torch.int64, device=self.device)

    @property
    def committed(self) -> int:
        """How many of the model's tokens were read."""
        return self._forward.committed

    @property
    def known(self) -> int:
        """How many tokens of prompt and output were read."""
        return self.committed

    def length_with(self, ids: Sequence[int] | Tensor) -> int:
        """Return how many of the model's tokens were read after tokens [n] more."""
        return self.committed + len(ids)

    def keep(self, length: int) -> None:
        """Forget all but the first ``length`` tokens."""
        self._forward.begin(self._capacity, length)

    def remember(self, ids: Tensor) -> None:
        """Read tokens [n] that nothing is drafted from."""
        self._reserve(len(ids))
        for part in ids.split(_CHUNK):
            self.commit(part)

    def commit(self, ids: Tensor) -> Tensor:
        """Read tokens [n] in one pass and return their hidden states [n, H]."""
        self._reserve(len(ids))
        hidden, _ = append(self._forward, self._known(ids))
        return hidden

    def emit(self, ids: Sequence[int]) -> bool:
        """Take the tokens emitted since the last step, at least one, for the next one to read.

        Returns:
            Whether there is a next step: the model has tokens for the last one.
        """
        self._reserve(len(ids) + self._drafted)
        self._ids = torch.tensor(ids).to(self.device, non_blocking=True)
        return True

    @property
    def root(self) -> Tensor:
        """The last token emitted [1] int64."""
        return self._ids[-1:]

    def read(self) -> Tensor:
        """Read and commit what was emitted; return the last hidden state [1, H]."""
        hidden = self.commit(self._ids)
        self._mask, self._depths = self._eye[:1, :0], self._depths[:0]
        return hidden[-1:]

    def extend(self, token_ids: Tensor, rows: Tensor, level: int) -> Tensor:
        """Read a level of drafted nodes [b], as in ``Backbone``; return their hidden states [b, H]."""
        width = len(token_ids)
        self._mask = torch.cat((self._mask.index_select(0, rows), self._eye[:width, :width]), dim=1)
        self._depths = torch.cat((self._depths, torch.full_like(token_ids, level - 1)))
        hidden, _ = self._forward.run(self._known(token_ids), self.committed + self._depths, self._mask)
        return hidden

    def _known(self, ids: Tensor) -> Tensor:
        return ids.clamp(max=self._largest_id)

    def _reserve(self, tokens: int) -> None:
        """Make room for ``tokens`` more."""
        needed = self.committed + tokens
        if needed > self._capacity:
            self._capacity = max(needed, 2 * self._capacity, _INITIAL_CAPACITY)
            self._forward.begin(self._capacity, self.committed)
