"""An LM head as plain numbers: weight, bias, scale and soft-cap."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.row_map import RowMap
from specframe.ops.packed_linear import PackedLinear, can_pack
from specframe.ops.weight_files import FileRows

# Bounds the memory for logits that are looked at and dropped.
_ROWS_AT_ONCE = 32


@attrs.frozen(slots=True, eq=False)
class OutputHead:
    """Hidden states to logits: ``softcap * tanh(scale * (h @ W.T + b) / softcap)``.

    Attributes:
        weight: [V, H]. Where the rows of ``FileRows`` are given for it they stay on disk, and reading this
            brings them all into memory: read ``rows`` where some will do.
        bias: [V] or None.
        scale: factor on the logits (Cohere multiplies by ``logit_scale``, Granite divides by
            ``logits_scaling``).
        softcap: bound of the logits (Gemma 2 ``final_logit_softcapping``); None for none.
        row_map: which token each row stands for: row i is token i, unless a drafter's own LM head has fewer
            rows than the target has tokens.
        product: ``h @ W.T + b`` with a reordered copy of the weight; None to use the weight itself.
    """

    _weight: Tensor | FileRows = attrs.field(alias="weight")
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    row_map: RowMap = attrs.field()
    product: PackedLinear | None = None

    @row_map.default
    def _every_row_in_order(self) -> RowMap:
        return RowMap(len(self._weight))

    @property
    def weight(self) -> Tensor:
        """The whole matrix [V, H]."""
        return self._weight if isinstance(self._weight, Tensor) else self._weight.whole

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weight, and of the logits."""
        return self._weight.dtype

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it holds in memory."""
        plain = (self._weight,) if isinstance(self._weight, Tensor) else ()
        product = () if self.product is None else self.product.tensors
        return (*plain, *product, *(() if self.bias is None else (self.bias,)))

    @property
    def vocab_size(self) -> int:
        """Number of rows: V, or fewer with a draft vocabulary."""
        return self._weight.shape[0]

    @property
    def hidden_size(self) -> int:
        """H, the width of a row."""
        return self._weight.shape[1]

    def rows(self, ids: Tensor) -> Tensor:
        """Return the rows of ``ids`` [n] as [n, H]."""
        if isinstance(self._weight, Tensor):
            return self._weight.detach().index_select(0, ids)
        return self._weight.at(ids)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits over all rows [..., V] in the head's dtype, for hidden states [..., H]."""
        if self.product is not None and not hidden.requires_grad:  # oneDNN's packed product has no gradient
            return self.finish(self.product(hidden))
        return self.finish(torch.nn.functional.linear(hidden, self.weight, self.bias))

    def candidate_logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Return logits of other rows for each state [N, C] float32, -inf where a row is negative.

        Args:
            hidden: [N, H].
            rows: [N, C] int64.
        """
        index = rows.clamp(min=0)
        weight = self.weight.detach()
        hidden = hidden.to(weight.dtype)
        if weight.is_cpu:  # where a batched product takes several times as long as its parts
            raw = weight.new_empty(rows.shape)
            for at, (own, state) in enumerate(zip(index, hidden, strict=True)):
                raw[at] = torch.mv(weight.index_select(0, own), state)
        else:
            raw = torch.bmm(weight[index], hidden[:, :, None])[:, :, 0]
        if self.bias is not None:
            raw = raw + self.bias.detach()[index]
        return self.finish(raw).float().masked_fill(rows < 0, -torch.inf)

    def best(self, hidden: Tensor) -> Tensor:
        """Return the row with the largest logit for each of the hidden states [n, H], as [n] int64."""
        return torch.cat([self.logits(part).argmax(dim=-1) for part in hidden.split(_ROWS_AT_ONCE)])

    def packed(self) -> OutputHead:
        """Return the same head with a reordered copy of its weight, where the CPU has a use for one."""
        if not can_pack(self.weight):
            return self
        return attrs.evolve(self, product=PackedLinear(self.weight, self.bias))

    def finish(self, raw: Tensor) -> Tensor:
        """Apply scale and soft-cap to raw dot products (bias already added), of any shape."""
        if self.scale != 1.0:
            raw = raw * self.scale
        if self.softcap is not None:
            raw = self.softcap * torch.tanh(raw / self.softcap)
        return raw
