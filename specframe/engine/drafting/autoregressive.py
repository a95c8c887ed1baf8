"""The baseline: nothing is drafted, so every target pass emits one token."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.drafting.protocol import Demands
from specframe.model.target import Prefill


class NoFigures:
    """The ``Figures`` of no draft: no token is active."""

    draft = costs = cost_error = None
    active_size = rows_fetched = torch.tensor(0)
    unknown_ids = 0

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return False for every id [n]."""
        return torch.zeros(len(ids), dtype=torch.bool)

    def memory_use(self) -> None:
        """Return None: there is no vocabulary."""


class Autoregressive:
    """The ``Drafting`` of trees that are only their root."""

    demands = Demands()
    figures = NoFigures()
    drafter = None

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return all shared positions but the last, which is read again to have something to go on from."""
        return max(shared - 1, 0)

    def start(
        self, prompt_ids: Tensor, prefill: Prefill, generator: Generator, clock: PhaseClock, kept: int = 0
    ) -> None:
        """Begin nothing."""

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return the root alone."""
        return DraftTree.root_only(root, features.device)

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None, clock: PhaseClock) -> None:
        """Learn nothing."""

    def forget(self) -> None:
        """Forget nothing."""

    def listen(self, note: Callable[[Tensor], None]) -> None:
        """Note nothing: no LM head drafts."""

    def finish(self) -> None:
        """End nothing."""
