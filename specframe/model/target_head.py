"""The target's LM head where only first choices are asked for: exact ones, from 8-bit rows and a proof.

Verification by the largest logit needs one row of the vocabulary after each node, and strategies that learn
from the target its first few. ``specframe.ops.bounded_rows`` says which rows cannot be among them; the others
are computed in float64. What the full product would have returned for each is known but for its rounding.
Where that decides, the full product is asked. So the first choice is the one that it has.
"""

from __future__ import annotations

from functools import cached_property

import attrs
import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.ops.bounded_rows import BoundedRows
from specframe.ops.row_maxima import row_max, row_topk

_CANDIDATES = 32
# What a product of H terms in float32 loses at most, in any order, per term.
_UNIT = 2.0**-24


class ScreenedTargetHead:
    """Finds the first choices of hidden states without all logits.

    Args:
        head: the target's LM head, on a CPU.
    """

    def __init__(self, head: OutputHead) -> None:
        self.head = head
        self._rows = BoundedRows(head.rows, head.vocab_size, head.hidden_size, head.bias)
        self._width = min(_CANDIDATES, head.vocab_size)

    @staticmethod
    def extra_bytes(head: OutputHead) -> int:
        """Return what it holds besides a head: about a byte for each weight."""
        return BoundedRows.bytes_for(head.vocab_size, head.hidden_size)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it holds besides the head."""
        return self._rows.tensors

    def look(self, hidden: Tensor) -> Choices:
        """Return what the head says about states [N, H]."""
        rows, _, following = self._rows.shortlist(self._rows.estimate(hidden), self._width)
        weight = self.head.rows(rows.flatten()).double().view(*rows.shape, -1)
        states = hidden.double()[:, :, None]
        raw = torch.bmm(weight, states)[:, :, 0]
        lost = 1.01 * (weight.shape[2] + 8) * _UNIT * torch.bmm(weight.abs(), states.abs())[:, :, 0]
        if self.head.bias is not None:
            bias = self.head.bias.detach().double()[rows]
            raw = raw + bias
            lost += 4 * _UNIT * (raw.abs() + bias.abs())
        return Choices(
            self.head,
            hidden,
            rows=rows,
            low=self._finished(raw - lost, -1),
            high=self._finished(raw + lost, 1),
            following=self._finished(following, 1),
        )

    def _finished(self, raw: Tensor, side: int) -> Tensor:
        """Return bounds of logits in the head's dtype, for bounds of products of any shape.

        Rounding keeps the order, and so does all that follows but for a soft-cap's own rounding.
        """
        logits = self.head.finish(raw.to(self.head.dtype))
        if self.head.softcap is not None:
            logits = logits + side * 4 * torch.finfo(logits.dtype).eps * logits.abs()
        return logits.float()


@attrs.define(slots=False, eq=False)
class Choices:
    """The ``HeadOutput`` of a screened head: its first choices, and all logits for whoever asks.

    Attributes:
        head: the LM head.
        hidden: the states [N, H].
        rows: candidates [N, C] int64.
        low: no more than the head's own logits of them [N, C] float32.
        high: no less [N, C] float32.
        following: no less than the head's own logits of all other rows [N] float32.
    """

    head: OutputHead
    hidden: Tensor
    rows: Tensor = attrs.field(kw_only=True)
    low: Tensor = attrs.field(kw_only=True)
    high: Tensor = attrs.field(kw_only=True)
    following: Tensor = attrs.field(kw_only=True)

    @cached_property
    def logits(self) -> Tensor:
        """All logits [N, V]."""
        return self.head.logits(self.hidden)

    def best(self) -> tuple[Tensor, Tensor]:
        """Return the largest logit of each state, or less than that [N], and its first row [N] int64."""
        lead = self.low.amax(dim=1, keepdim=True)
        row = self.rows.masked_fill(self.low < lead, self.head.vocab_size).amin(dim=1, keepdim=True)
        # Of equal logits the first row wins.
        behind = (self.high < lead) | (self.high == lead) & (self.rows > row) | (self.rows == row)
        certain = behind.all(dim=1) & (self.following < lead[:, 0])
        if bool(certain.all()):
            return lead[:, 0], row[:, 0]
        return row_max(self.logits)

    def top_ids(self, k: int) -> Tensor:
        """Return the rows of the k largest logits of each state [N, k] int64, up to rounding."""
        if k <= self.rows.shape[1]:
            best = self.low.topk(k, dim=1)
            if bool((self.following < best.values[:, -1]).all()):
                return self.rows.gather(1, best.indices)
        return row_topk(self.logits, k)[1]
