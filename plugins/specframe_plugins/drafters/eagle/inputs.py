"""What changes from one draft step to the next, in buffers that stay where they are.

Shapes: P pairs at most, L drafted levels that go through the head, F feature width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class StepInputs:
    """The pairs that a draft step commits, and where they stand in the cache.

    All numbers are in one buffer, so that one copy brings them to the device.

    Args:
        pairs: P.
        levels: L.
        feature_size: F.
        device: where the step runs.
        dtype: of the features.

    Attributes:
        pairs: P.
        reach: how far behind the committed pairs a step may write or look, in columns.
        token_ids: tokens of the pairs [P] int64; behind the last pair anything valid.
        features: features of the pairs [P, F]; likewise.
        columns: columns of the pairs in the cache, then the column after the last pair and those that follow
            it: the places where the drafted levels would stand if they were committed [P + L] int64.
        last: index of the last pair [1] int64.
        committed: column after the last pair [1] int64.
    """

    def __init__(
        self, pairs: int, levels: int, feature_size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.pairs, self.reach, self._levels = pairs, pairs + levels, levels
        self._numbers = torch.zeros(2 * pairs + levels + 2, dtype=torch.int64, device=device)
        # Copied from pinned memory, the host does not wait; the verifier's read comes before the next copy.
        self._staging = (
            self._numbers if device.type == "cpu" else torch.zeros_like(self._numbers, device="cpu")
        )
        if device.type == "cuda":
            self._staging = self._staging.pin_memory()
        self.features = torch.zeros(pairs, feature_size, device=device, dtype=dtype)
        self.token_ids, self.columns, self.last, self.committed = self._numbers.split(
            [pairs, pairs + levels, 1, 1]
        )

    def fill(self, token_ids: Sequence[int], features: Tensor, column: int) -> None:
        """Take n pairs, at least one and at most P.

        Args:
            token_ids: [n], on the host.
            features: [n, F].
            column: where the first of them stands.
        """
        n = len(token_ids)
        after = column + n
        numbers = [*token_ids, *[token_ids[-1]] * (self.pairs - n), *range(column, column + self.pairs)]
        numbers += [*range(after, after + self._levels), n - 1, after]
        self._staging.copy_(torch.tensor(numbers))
        if self._staging is not self._numbers:
            self._numbers.copy_(self._staging, non_blocking=True)
        self.features[:n].copy_(features)
