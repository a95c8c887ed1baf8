"""The head run several steps on its own features, as drafting runs it.

At depth 1 the head sees the target's features. At depth k it sees, for the last k - 1 positions, features
of its own, and for everything before them the keys and values that the target's features gave. The
attention of a step therefore mixes keys of all earlier steps: step k at position t attends to step 1 at
positions up to t - k + 1, and to step j at position t - k + j (the "harmonized context alignment" of HASS,
arXiv 2408.15766, section 3.2, and the "training-time test" of EAGLE-3, arXiv 2503.01840, section 3.2).

Shapes: B sequences, T positions, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from specframe_plugins.drafters.eagle.model import PairLayer, rotary_tables


def unroll(
    head: PairLayer,
    embeddings: Tensor,
    features: Tensor,
    steps: int,
    dropout: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Tensor]:
    """Yields what the LM head reads at each depth.

    Args:
        head: the head.
        embeddings: target embedding of token t + 1, [B, T, H].
        features: of position t, as the head reads them at every depth, [B, T, H].
        steps: number of depths.
        dropout: applied to what the layer reads.

    Yields:
        The prediction for position t + 1, [B, T, H]; at depth k it is what a draft that began k - 1
        positions earlier predicts, valid for t >= k - 1.
    """
    length = features.shape[1]
    attention = head.attention
    positions = torch.arange(length, device=features.device)[None]
    cos, sin = (table[:, None] for table in rotary_tables(head.config, positions))
    distance = positions[0, :, None] - positions[0, None, :]
    keys: list[Tensor] = []
    values: list[Tensor] = []
    before: Tensor | None = None
    current = features
    for step in range(steps):
        residual, read = head.read(embeddings, current)
        # Residuals stay in float32 where autocast would lower them.
        residual = residual.to(features.dtype)
        if dropout is not None:
            read = dropout(read)
        query, key, value = attention.project(read, cos, sin)
        # A drafted pair follows the one that was drafted before it.
        keys.append(attention.following(key, key if before is None else before))
        before = key
        values.append(value)
        seen = [distance >= step, *(distance == step - later for later in range(1, step + 1))]
        if head.config.sliding_window is not None:
            near = distance < head.config.sliding_window
            seen = [part & near for part in seen]
        mixed = F.scaled_dot_product_attention(
            query,
            torch.cat(keys, dim=2),
            torch.cat(values, dim=2),
            attn_mask=torch.cat(seen, dim=1) | _self_at_start(distance, step),
            enable_gqa=True,
        )
        hidden = residual + attention.o_proj(mixed.transpose(1, 2).flatten(2)).to(residual.dtype)
        predicted, following = head.after_attention(hidden)
        yield predicted
        current = torch.cat((current[:, :1], following[:, :-1]), dim=1)


def _self_at_start(distance: Tensor, step: int) -> Tensor:
    """Lets the first positions, which no draft reaches at this depth, see themselves: an empty row is NaN."""
    length = distance.shape[0]
    seen = distance.new_zeros(length, length * (step + 1), dtype=torch.bool)
    early = torch.arange(min(step, length))
    seen[early, step * length + early] = True
    return seen
