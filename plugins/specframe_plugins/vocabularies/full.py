"""Strategy ``full``: no pruning; the drafter may propose every token of the vocabulary."""

from __future__ import annotations

import attrs
import torch

from specframe.contracts.protocols import VocabularyBuilder
from specframe.engine.drafting.controller import controller_option
from specframe.registry.components import Component


@attrs.frozen(slots=True)
class FullOptions:
    """Options of ``full``."""

    controller: bool = controller_option()


class FullVocabulary(VocabularyBuilder):
    """Declares no capacity, so there is no active set and nothing to admit.

    Args:
        controlled: a controller chooses when to draft.
    """

    capacity = None

    def __init__(self, controlled: bool = False) -> None:
        self.controlled = controlled
        self.pinned_ids = torch.empty(0, dtype=torch.int64)


COMPONENT = Component(
    name="full",
    summary="no pruning: draft over the whole vocabulary",
    options=FullOptions,
    factory=lambda options, context: FullVocabulary(options.controller),
)
