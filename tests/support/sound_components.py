"""The least that each kind of component has to be: right, and of no use."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend, Verifier, VocabularyBuilder
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict


class SoundStrategy(VocabularyBuilder):
    """Keeps one token active."""

    capacity: int | None = 4
    pinned_ids = torch.tensor([1])


class SoundGather(GatherBackend):
    """Finds the first rows best."""

    scores_candidates = True

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        pass

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        pass

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        return torch.full((len(hidden), k), -2.0), torch.arange(k).expand(len(hidden), k)

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        return self.topk(hidden, k)

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.zeros(len(hidden), 1)


class SoundDrafter(Drafter):
    """Drafts nothing."""

    max_depth, max_nodes = 1, 2

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        pass

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        return DraftTree.root_only(root)

    def commit(self, verdict: Verdict) -> None:
        pass


class SoundVerifier(Verifier):
    """Accepts nothing."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        return Verdict((0,), (), int(target.best()[0][0]), path_ends_at_leaf=len(tree) == 1)


class SoundScreen(Screen):
    """Finds the first rows."""

    width = 2

    def bind(self, head: OutputHead, states: StateSource) -> None:
        pass

    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(torch.arange(2).expand(len(hidden), 2))
