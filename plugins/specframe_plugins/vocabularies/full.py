"""Strategy ``full``: no pruning; the drafter may propose every token of the vocabulary."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.protocols import Eviction
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.controller import controller_option
from specframe.registry.components import Component


@attrs.frozen(slots=True)
class FullOptions:
    """Options of ``full``."""

    controller: bool = controller_option()


class FullVocabulary:
    """Declares no capacity, so there is no active set and nothing to admit."""

    capacity: int | None = None
    harvest_topk = 0
    prompt_window = 0
    eviction: Eviction = "fifo"

    def __init__(self) -> None:
        self.pinned_ids = torch.empty(0, dtype=torch.int64)

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        """Return no ids: every token is active anyway."""
        return self.pinned_ids

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        """Return no ids: every token is active anyway."""
        return self.pinned_ids


COMPONENT = Component(
    name="full",
    summary="no pruning: draft over the whole vocabulary",
    options=FullOptions,
    factory=lambda options, context: FullVocabulary(),
)
