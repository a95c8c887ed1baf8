"""A drafter that knows the text to come, so that every kind of draft tree can be put before an engine."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict


class ScriptedDrafter(Drafter):
    """Drafts random trees in which a random prefix of the known text is hidden at random nodes."""

    branching = 1

    def __init__(self, head: OutputHead, text: list[int], *, max_nodes: int = 12, seed: int = 0) -> None:
        self.output_head = head
        self.max_nodes = max_nodes
        self.max_depth = max_nodes - 1
        self._text = text
        self._random = random.Random(seed)
        self._emitted = 0
        self.committed: list[Verdict] = []

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        assert features.shape[0] == prompt_ids.shape[0]
        self._emitted = 1

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        choose, upcoming = self._random, self._text[self._emitted :]
        tokens, parents, depths, right = [root], [-1], [0], [0]
        for _ in range(1, choose.randint(1, self.max_nodes)):
            follow = choose.random() < 0.6 and len(right) <= len(upcoming)
            parent = right[-1] if follow else choose.randrange(len(tokens))
            token = upcoming[len(right) - 1] if follow else choose.randrange(self.output_head.vocab_size)
            if any(p == parent and t == token for p, t in zip(parents, tokens, strict=True)):
                continue
            if follow:
                right.append(len(tokens))
            tokens.append(token)
            parents.append(parent)
            depths.append(depths[parents[-1]] + 1)
        return DraftTree(
            torch.tensor(tokens), torch.tensor(parents), torch.tensor(depths), torch.zeros(len(tokens))
        )

    def commit(self, verdict: Verdict) -> None:
        self.committed.append(verdict)
        self._emitted += len(verdict.emitted_ids)
