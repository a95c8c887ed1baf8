"""How well a head drafts on held-out conversations, by teacher forcing: every position is a start.

A chain drafted greedily at position t is accepted at depth k if the head's argmax equals the target's at
depths 1..k. As long as it is accepted the drafted tokens are the target's own, so the unrolled pass over
the target's text computes exactly the features that drafting from t would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from specframe.contracts.lm_head import OutputHead
from specframe_plugins.training.architecture import Architecture
from specframe_plugins.training.batches import collate
from specframe_plugins.training.exact import best
from specframe_plugins.training.features import TrainingData
from specframe_plugins.training.shards import ANSWER

_AT_ONCE = 8
_CANDIDATES = 8


@frozen
class ChainAcceptance:
    """Greedy chain drafting on held-out answers.

    Attributes:
        by_depth: share of starts whose chain is accepted up to depth 1, 2, ...
        starts: number of starting positions.
    """

    by_depth: tuple[float, ...]
    starts: int

    def tau(self, length: int) -> float:
        """Tokens per target pass with a chain of `length` drafted tokens."""
        return 1.0 + sum(self.by_depth[:length])


@torch.no_grad()
def chain_acceptance(
    architecture: Architecture[Any], head: nn.Module, data: TrainingData, numbers: Sequence[int], depths: int
) -> ChainAcceptance:
    """Measures the acceptance of greedy chains over the given conversations.

    Only starts count whose whole chain lies inside an answer, where the answer goes on greedily.
    """
    output_head, embed_tokens = data.target.output_head, data.target.embed_tokens
    proposals = architecture.output_rows(head, data.target, None)
    accepted = torch.zeros(depths, dtype=torch.int64)
    starts = 0
    device = output_head.weight.device
    for first in range(0, len(numbers), _AT_ONCE):
        batch = collate(data.load(numbers[first : first + _AT_ONCE]))
        tokens, roles, features = (t.to(device) for t in (batch.tokens, batch.roles, batch.features))
        inputs = batch.inputs[:, :-2].to(device).float()
        answer = (roles == ANSWER)[:, 2:]
        truth = best_ids(output_head, features[:, 1:-1])
        greedy = truth == tokens[:, 2:]
        alive = answer.clone()
        embeddings = embed_tokens(tokens[:, 1:-1]).float()
        chains = []
        unrolled = architecture.unroll(head, embeddings, inputs, depths, None)
        for depth, predicted in enumerate(unrolled):
            # Column t: the chain that began at t - depth.
            alive = torch.nn.functional.pad(alive, (1, 0))[:, :-1] if depth else alive
            alive = alive & (best_ids(proposals, predicted) == truth)
            chains.append(alive)
        counted = answer.clone()
        for depth in range(1, depths):
            counted &= _ahead(answer, depth) & _ahead(greedy, depth - 1)
        starts += int(counted.sum())
        for depth, alive in enumerate(chains):
            accepted[depth] += (_ahead(alive, depth) & counted).sum().cpu()
    return ChainAcceptance(tuple((accepted / max(starts, 1)).tolist()), starts)


def _ahead(flags: Tensor, count: int) -> Tensor:
    """The flags `count` positions further on, False beyond the end [B, T]."""
    return torch.nn.functional.pad(flags, (0, count))[:, count:]


def best_ids(output_head: OutputHead, features: Tensor) -> Tensor:
    """Argmax over the full vocabulary [B, T], for features [B, T, H]."""
    _, ids = best(output_head, features.flatten(0, 1), _CANDIDATES)
    return ids[:, 0].view(features.shape[:2])
