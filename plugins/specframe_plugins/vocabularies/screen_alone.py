"""A strategy without an active set, which leaves everything to a screen."""

from __future__ import annotations

import torch

from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.screen import Screen


class ScreenAlone(VocabularyBuilder):
    """Admits nothing.

    Args:
        screen: chooses rows for each hidden state.
    """

    capacity = 0
    takes_batches = True

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.pinned_ids = torch.empty(0, dtype=torch.int64)
