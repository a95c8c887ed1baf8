"""Many sequences in one pass, packed end to end: no padding, and every row at a position of its own.

A batch of conversations is ragged: each has another length, and some bring many forced tokens while others
bring the one token that was just written. So the tokens of all rows are laid end to end, [1, n], for the
matrix products, and attention runs row by row over exactly the keys that the row has. The decoder itself is
the unchanged transformers module: only its attention function is exchanged for the time of a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from attrs import define, field, frozen
from torch import Tensor
from transformers import AttentionInterface

from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.model.transformers_forward import LayerTaps

_ATTENTION = "specframe-packed"


@frozen
class Segment:
    """Consecutive tokens of one row.

    Attributes:
        row: which row.
        start: position of the first token; the row's cache holds everything before it.
        tokens: ids.
    """

    row: int
    start: int
    tokens: Sequence[int]

    @property
    def stop(self) -> int:
        """The position after the last token."""
        return self.start + len(self.tokens)


@define
class RowCache:
    """Keys and values of every row: [rows, layers, 2, heads, length, D].

    Attributes:
        rows: number of rows.
        layers: number of decoder layers.
        length: most tokens of a row.
    """

    rows: int
    layers: int
    length: int
    _buffer: Tensor | None = field(default=None, init=False)

    def write(self, layer: int, rows: Tensor, positions: Tensor, key: Tensor, value: Tensor) -> None:
        """Stores keys and values [n, heads, D] of one layer at positions [n] of rows [n]."""
        if self._buffer is None:
            shape = (self.rows, self.layers, 2, key.shape[1], self.length, key.shape[2])
            self._buffer = key.new_zeros(shape)
        self._buffer[:, layer, 0][rows, :, positions] = key
        self._buffer[:, layer, 1][rows, :, positions] = value

    def read(self, segment: Segment) -> list[tuple[Tensor, Tensor]]:
        """Returns keys and values [1, heads, stop, D] of every layer; views, so a later write shows."""
        assert self._buffer is not None
        views = self._buffer[segment.row, :, :, None, :, : segment.stop].flatten(0, 1).unbind(0)
        return list(zip(views[::2], views[1::2], strict=True))


@define
class _Packing:
    """The layout of one pass, as its attention function needs it.

    Attributes:
        segments: the rows' tokens, in the order of packing.
        rows: of every token [n].
        positions: of every token [n].
        cache: where keys and values stay; None when every segment is a whole sequence.
    """

    segments: Sequence[Segment]
    rows: Tensor
    positions: Tensor
    cache: RowCache | None
    # Views into the cache by segment and layer; made once it has its buffer.
    _views: list[list[tuple[Tensor, Tensor]]] = field(factory=list, init=False)

    def keys_and_values(self, layer: int, key: Tensor, value: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Everything that each segment may attend to, [1, heads, stop, D], for new ones [1, heads, n, D]."""
        if self.cache is None:
            lengths = [len(segment.tokens) for segment in self.segments]
            return list(zip(key.split(lengths, dim=2), value.split(lengths, dim=2), strict=True))
        self.cache.write(layer, self.rows, self.positions, key[0].transpose(0, 1), value[0].transpose(0, 1))
        if not self._views:
            self._views = [self.cache.read(segment) for segment in self.segments]
        return [views[layer] for views in self._views]


@torch.inference_mode()
def packed_pass(
    target: Target,
    segments: Sequence[Segment],
    cache: RowCache | None = None,
    layers: tuple[int, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Runs the decoder over all segments at once.

    Args:
        target: whose decoder runs.
        segments: at most one per row.
        cache: where keys and values are kept; None for whole sequences that start at position 0.
        layers: whose inputs are wanted beside them.

    Returns:
        Hidden states after the final norm [n, H], in the order of the segments, and the inputs of the layers
        side by side [n, F]; with no layers, the hidden states again.
    """
    device = target.device
    tokens = [token for segment in segments for token in segment.tokens]
    positions = torch.tensor([p for segment in segments for p in range(segment.start, segment.stop)])
    rows = torch.tensor([segment.row for segment in segments for _ in segment.tokens])
    packing = _Packing(segments, rows.to(device), positions.to(device), cache)
    AttentionInterface.register(_ATTENTION, _attend)
    before = target.config._attn_implementation
    target.config._attn_implementation = _ATTENTION
    try:
        with LayerTaps(target.decoder, layers) as taps:
            output = target.decoder(
                input_ids=torch.tensor([tokens], device=device),
                position_ids=packing.positions[None],
                use_cache=False,
                packing=packing,
            )
    finally:
        target.config._attn_implementation = before
    hidden: Tensor = output.last_hidden_state[0]
    return hidden, taps.features() if layers else hidden


def last_rows(segments: Sequence[Segment]) -> list[int]:
    """Index of the last token of each segment in a pass over them."""
    return [stop - 1 for stop in accumulate(len(segment.tokens) for segment in segments)]


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: _Packing,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each row; queries [1, heads, n, D], returns [1, n, heads, D]."""
    if others.get("softcap") is not None or others.get("s_aux") is not None:
        raise UsageError("attention with soft-capping or sinks cannot be packed; allowed: plain softmax")
    lengths = [len(segment.tokens) for segment in packing.segments]
    known = packing.keys_and_values(module.layer_idx, key, value)
    mixed = []
    for segment, part, (keys, values) in zip(
        packing.segments, query.split(lengths, dim=2), known, strict=True
    ):
        if len(segment.tokens) == 1:
            low = 0 if sliding_window is None else max(0, segment.stop - sliding_window)
            if low:
                keys, values = keys[:, :, low:], values[:, :, low:]
            # Queries that share a key head become positions of one head: each key is read once.
            folded = part.reshape(1, keys.shape[1], -1, part.shape[-1])
            out = F.scaled_dot_product_attention(folded, keys, values, scale=scaling)
            mixed.append(out.view(1, 1, -1, part.shape[-1]))
        else:
            mask = _mask(segment, sliding_window, query.device)
            out = F.scaled_dot_product_attention(
                part, keys, values, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=True
            )
            mixed.append(out.transpose(1, 2))
    return torch.cat(mixed, dim=1), None


def _mask(segment: Segment, window: int | None, device: torch.device) -> Tensor | None:
    """Who sees what [m, stop]; None where causality from the first position says it all."""
    if segment.start == 0 and (window is None or segment.stop <= window):
        return None
    positions = torch.arange(segment.start, segment.stop, device=device)[:, None]
    keys = torch.arange(segment.stop, device=device)
    seen = keys <= positions
    return seen if window is None else seen & (keys > positions - window)
