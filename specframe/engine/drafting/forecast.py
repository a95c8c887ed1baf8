"""What a budget makes of a text: the drafts that costs lead to, by how often drafted tokens are accepted."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import attrs
import torch

from specframe.contracts.tree import DraftTree, Verdict
from specframe.costs.model import CostModel
from specframe.engine.drafting.step_budget import StepBudget

# Shares of texts on which a drafter's best token is the target's.
ACCEPTANCE = (0.9, 0.8, 0.6, 0.4, 0.2)
_STEPS, _CONTEXT, _ROWS, _DEEPEST = 150, 256, 1024, 8


@attrs.frozen(slots=True)
class Forecast:
    """What drafts are like on a text.

    Attributes:
        acceptance: probability that the drafter's best token is the target's.
        drafted: share of the target passes with a draft.
        levels: of a draft.
        nodes: of a draft tree, the root included.
        tau: tokens per target pass.
        speed: tokens per second against decoding without drafts.
    """

    acceptance: float
    drafted: float
    levels: float
    nodes: float
    tau: float
    speed: float


def forecast(costs: CostModel, acceptance: Sequence[float] = ACCEPTANCE) -> list[Forecast]:
    """Return what costs lead to on made-up texts, each the same for all calls."""
    return [_on_text(costs, share) for share in acceptance]


def _on_text(costs: CostModel, acceptance: float) -> Forecast:
    source, budget = random.Random(0), StepBudget(costs, _CONTEXT, _DEEPEST)
    emitted, spent, levels, nodes, drafts, alone = 0, 0.0, 0, 0, 0, 0.0
    for _ in range(_STEPS):
        budget.begin(_CONTEXT, _ROWS)
        tree = DraftTree.root_only(0)
        if budget.wants_head():
            budget.ask()
            tree, depth = _drafted(costs.width, acceptance, budget)
            drafts, levels = drafts + 1, levels + depth
            tree = budget.keep(tree)
            nodes += len(tree)
        verdict = _verified(tree, source)
        spent += budget.pass_s(len(tree)) + budget.expected_draft_s
        emitted += len(verdict.emitted_ids)
        alone += len(verdict.emitted_ids) * budget.pass_s(1)
        budget.learn(verdict, [True] * len(verdict.emitted_ids))
    return Forecast(
        acceptance=acceptance,
        drafted=drafts / _STEPS,
        levels=levels / max(drafts, 1),
        nodes=nodes / drafts if drafts else 1.0,
        tau=emitted / _STEPS,
        speed=alone / spent,
    )


def _drafted(width: int, acceptance: float, budget: StepBudget) -> tuple[DraftTree, int]:
    """Return a tree whose nodes promise what is kept, and its levels.

    The best child of a node is right with ``acceptance``, the next with a quarter of what is left, and each
    further one half as often as the one before.
    """
    shares = [acceptance, *((1 - acceptance) / 2 ** (rank + 2) for rank in range(width - 1))]
    parents, depths, log_probs, paths = [-1], [0], [0.0], [0.0]
    beams, depth = [0], 1
    while True:
        level = []
        for beam in beams:
            for share in shares:
                level.append(len(parents))
                parents.append(beam)
                depths.append(depth)
                log_probs.append(math.log(share))
                paths.append(paths[beam] + log_probs[-1])
        level.sort(key=lambda node: -paths[node])
        more = 0 if depth == _DEEPEST else budget.beams([paths[node] for node in level[:width]])
        if not more:
            break
        beams, depth = level[:more], depth + 1
    nodes = torch.arange(len(parents))
    return DraftTree(nodes, torch.tensor(parents), torch.tensor(depths), torch.tensor(log_probs)), depth


def _verified(tree: DraftTree, source: random.Random) -> Verdict:
    """Return a verdict that accepts a child as often as it promises."""
    parents, log_probs, path = tree.parents.tolist(), tree.log_probs.tolist(), [0]
    while True:
        children = [node for node, parent in enumerate(parents) if parent == path[-1]]
        drawn = source.random()
        for node in children:
            drawn -= math.exp(log_probs[node])
            if drawn < 0:
                path.append(node)
                break
        else:
            return Verdict(tuple(path), (0,) * (len(path) - 1), 0, path_ends_at_leaf=not children)
