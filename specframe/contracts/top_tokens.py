"""What the target finds likely: its top tokens after some positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import attrs
import torch
from torch import Tensor

from specframe.contracts.target_logits import HeadOutput


@attrs.frozen(slots=True, eq=False)
class TopTokens:
    """The target's k most likely tokens after each of n positions, before any logits processor.

    Attributes:
        ids: of the tokens, the likeliest first [n, k] int64.
        log_probs: of each over the whole vocabulary, at temperature 1 [n, k] float32; None where nobody asked
            for them.
    """

    ids: Tensor
    log_probs: Tensor | None = None

    @classmethod
    def of(cls, output: HeadOutput, k: int, *, log_probs: bool = False) -> Self:
        """Return the top k of what an LM head says about n states.

        Args:
            output: of the head.
            k: how many per state.
            log_probs: whether to compute their log-probabilities, for which all logits are needed.
        """
        ids = output.top_ids(k)
        if not log_probs:
            return cls(ids)
        logits = output.logits
        total = logits.float().logsumexp(dim=-1, keepdim=True)
        return cls(ids, logits.gather(1, ids).float() - total)

    @classmethod
    def cat(cls, parts: Sequence[TopTokens]) -> Self:
        """Return the rows of several, one after the other; all of them have log-probabilities, or none."""
        log_probs = [part.log_probs for part in parts if part.log_probs is not None]
        return cls(torch.cat([part.ids for part in parts]), torch.cat(log_probs) if log_probs else None)

    def cut(self, k: int, *, last: int | None = None) -> TopTokens:
        """Return the first ``k`` columns, of all rows or of the last few."""
        rows = slice(None) if last is None else slice(max(len(self.ids) - last, 0), None)
        return TopTokens(self.ids[rows, :k], None if self.log_probs is None else self.log_probs[rows, :k])
