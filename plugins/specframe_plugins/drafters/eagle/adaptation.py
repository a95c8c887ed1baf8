"""What an EAGLE head learns in use: how far predictions like this one were from the target's features.

A head predicts a feature for every token that it drafts, and one pass later the target's own is there. Both
are kept: the direction of the prediction as a key, and what it lacked as a value. A later prediction is moved
by half of what the ones like it lacked, in the mean of those that are near; far from all of them nothing
changes. So the correction is a sum of outer products, of the rank of what was learnt, without a gradient and
without a product of the LM head (associative memory; the aim is that of Online Speculative Decoding, Liu et
al., arXiv 2310.07177).

Shapes: R rows, n predictions, H hidden, L drafted levels, b beams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from specframe_plugins.drafters.components.eagle import ADAPTED_ROWS

# Chosen on answers of one task, and measured on another (docs/drafters.md): how sharply likeness falls with
# the cosine, the cosine at which one row counts as much as none, and how much of what lacked is added.
_SHARPNESS, _NEAR, _SHARE = 40.0, 0.8, 0.5


class Store(Protocol):
    """Where what was learnt outlasts a process."""

    def read(self) -> tuple[Tensor, Tensor] | None:
        """Return keys and values, the oldest first, each [at most R, H]; None where nothing is stored."""

    def write(self, keys: Tensor, values: Tensor) -> None:
        """Store keys and values, each [n, H]."""


class Adaptation:
    """Corrects predicted features by what earlier predictions lacked.

    All tensors stay where they are, so that a CUDA graph can hold ``corrected``.

    Args:
        size: H.
        device: where the head is.
        dtype: of its features.
        store: what it begins with, and where ``save`` writes; None for nothing and nowhere.
        rows: R.
    """

    def __init__(
        self,
        size: int,
        device: torch.device,
        dtype: torch.dtype,
        store: Store | None = None,
        *,
        rows: int = ADAPTED_ROWS,
    ) -> None:
        self._keys = torch.zeros(rows, size, device=device, dtype=dtype)
        self._values = torch.zeros_like(self._keys)
        self._store = store
        self._stored = None if store is None else store.read()
        self.forget()

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Keys and values, each [R, H]; rows that hold nothing are zeros."""
        return self._keys, self._values

    def corrected(self, predicted: Tensor) -> Tensor:
        """Return predicted features [n, H] with half of what those like them lacked."""
        likeness = F.linear(F.normalize(predicted, dim=-1), self._keys).float()
        # The column of zeros before them is what a prediction that is like none stays at; an empty row
        # weighs e^-32 of that.
        scores = F.pad(_SHARPNESS * (likeness - _NEAR), (1, 0))
        weights = scores.softmax(dim=-1)[:, 1:].to(predicted.dtype)
        return predicted + _SHARE * (weights @ self._values)

    def learn(self, predicted: Tensor, feature: Tensor) -> None:
        """Keep one prediction [H], as it was before it was corrected, beside the target's feature [H]."""
        row = self._learnt % len(self._keys)
        self._keys[row] = F.normalize(predicted, dim=-1)
        self._values[row] = feature - predicted
        self._learnt += 1
        self._saved = False

    def forget(self) -> None:
        """Go back to what the store held at the start, or to nothing."""
        self._keys.zero_()
        self._values.zero_()
        self._learnt, self._saved = 0, True
        if self._stored is not None:
            keys, values = (tensor[-len(self._keys) :] for tensor in self._stored)
            self._keys[: len(keys)] = keys.to(self._keys)
            self._values[: len(values)] = values.to(self._values)
            self._learnt = len(keys)

    def save(self) -> None:
        """Store what was learnt, the oldest first, if something is new."""
        if self._store is None or self._saved:
            return
        held = min(self._learnt, len(self._keys))
        oldest = self._learnt % len(self._keys) if held == len(self._keys) else 0
        keys, values = (tensor.roll(-oldest, 0)[:held] for tensor in self.tensors)
        self._store.write(keys, values)
        self._saved = True


class LevelRecord:
    """What a draft predicted, level by level, until the target's features say what was right.

    Args:
        levels: L, those that go through the head.
        beams: b.
        size: H.
        device: where the head is.
        dtype: of its features.
    """

    def __init__(self, levels: int, beams: int, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self._predicted = torch.zeros(levels + 1, beams, size, device=device, dtype=dtype)
        # Tokens of the nodes, then the rows of their parents; -1 where there is none.
        self._nodes = torch.full((2, levels, beams), -1, dtype=torch.int64, device=device)

    def begin(self, predicted: Tensor) -> None:
        """Begin a draft with the feature predicted for the root [1, H]."""
        self._nodes.fill_(-1)
        self._predicted[0, :1] = predicted

    def add(self, token_ids: Tensor, rows: Tensor, level: int, predicted: Tensor) -> None:
        """Add a level's nodes: tokens [b], rows of their parents [b] and predicted features [b, H]."""
        n = len(token_ids)
        self._nodes[0, level - 1, :n] = token_ids
        self._nodes[1, level - 1, :n] = rows
        self._predicted[level, :n] = predicted

    def along(self, accepted_ids: Sequence[int]) -> list[Tensor]:
        """Return what was predicted for the root, and for accepted tokens after it, each [H].

        The list ends before the first of them that the head did not go on from.
        """
        row, found = 0, [self._predicted[0, 0]]
        token_ids, parents = self._nodes.tolist()
        for level, (token_id, tokens, rows) in enumerate(zip(accepted_ids, token_ids, parents, strict=False)):
            fits = [at for at, node in enumerate(zip(tokens, rows, strict=True)) if node == (token_id, row)]
            if not fits:
                break
            row = fits[0]
            found.append(self._predicted[level + 1, row])
        return found
