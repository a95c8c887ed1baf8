"""Strategy ``full``: no pruning; the drafter may propose every token of the vocabulary."""

from __future__ import annotations

import torch

from specframe.contracts.protocols import VocabularyBuilder
from specframe.registry.components import BuildContext, NoOptions


class FullVocabulary(VocabularyBuilder):
    """Declares no capacity, so there is no active set and nothing to admit."""

    capacity = None
    pinned_ids = torch.empty(0, dtype=torch.int64)


def build(options: NoOptions, context: BuildContext) -> FullVocabulary:
    """Return the strategy."""
    return FullVocabulary()
