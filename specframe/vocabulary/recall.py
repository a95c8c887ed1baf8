"""How often a screen finds what the whole LM head would choose."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import Screen

FEW = 4
_AT_ONCE = 50


@attrs.frozen(slots=True)
class Recall:
    """Shares of the whole head's choices that are among the candidates.

    Attributes:
        first: of first choices.
        few: of the first ``FEW``.
    """

    first: float
    few: float

    @classmethod
    def of(cls, screen: Screen, states: Tensor, best: Tensor) -> Recall:
        """Return what a screen finds for states [n, H], given their best rows [n, ``FEW``]."""
        found = torch.cat([screen.screen(part).rows for part in states.split(_AT_ONCE)])
        hit = (best[:, :, None] == found[:, None, :]).any(dim=-1).float()
        return cls(hit[:, 0].mean().item(), hit.mean().item())


def best_rows(head: OutputHead, states: Tensor) -> Tensor:
    """Return the rows of the largest logits of states [n, H], the best first [n, ``FEW``] int64."""
    return torch.cat([head.logits(part).topk(FEW).indices for part in states.split(_AT_ONCE)])
