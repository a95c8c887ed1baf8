"""Screens for tests, from those that find nothing of use to one that finds what there is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.registry.components import Component, NoOptions
from specframe.registry.hookspecs import hookimpl


class NoStates:
    """The ``StateSource`` of screens that are fitted to nothing."""

    key = "none"

    def sample(self, count: int) -> Tensor:
        raise AssertionError("this screen was not meant to ask")


class RandomScreen(Screen):
    """Chooses by chance, the same for the same state; some of its candidates are none."""

    def __init__(self, width: int, seed: int = 0) -> None:
        self.width, self._seed = width, seed

    def bind(self, head: OutputHead, states: StateSource) -> None:
        generator = torch.Generator().manual_seed(self._seed)
        self._guess = torch.randn(head.hidden_size, head.vocab_size, generator=generator)

    def screen(self, hidden: Tensor) -> Candidates:
        estimates = hidden.float().cpu() @ self._guess
        best = estimates.topk(self.width)
        none = (best.values < 0.1) & (best.values < best.values[:, :1])  # the best one stays
        return Candidates(best.indices.masked_fill(none, -1).to(hidden.device))


class WholeScreen(Screen):
    """Finds the largest logits, and knows the log-sum-exp of all."""

    def __init__(self, width: int) -> None:
        self.width = width

    def bind(self, head: OutputHead, states: StateSource) -> None:
        self._head = head

    def screen(self, hidden: Tensor) -> Candidates:
        logits = self._head.logits(hidden).float()
        return Candidates(logits.topk(self.width).indices, logits.logsumexp(dim=1))


class Screened(VocabularyBuilder):
    """A strategy of a screen alone."""

    capacity = 0

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.pinned_ids = torch.empty(0, dtype=torch.int64)


class ScreenedAndSeen(Screened):
    """A screen beside the tokens of the context."""

    capacity = 20

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        return prompt_ids

    def observe(self, verdict: Any, tree: Any, target_topk_ids: Tensor | None) -> Tensor:
        return torch.tensor(verdict.emitted_ids)


class RandomlyScreened:
    """A plugin with the strategies ``random-screen`` and ``random-screen-seen``."""

    width = 7

    @hookimpl
    def specframe_vocabularies(self) -> list[Component]:
        return [
            Component(
                name=name,
                summary="chooses by chance",
                options=NoOptions,
                factory=lambda options, context, strategy=strategy: strategy(RandomScreen(self.width)),
            )
            for name, strategy in (("random-screen", Screened), ("random-screen-seen", ScreenedAndSeen))
        ]
