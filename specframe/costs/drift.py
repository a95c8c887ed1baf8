"""Costs in use: what steps took against what was expected, and the curves that follow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

import attrs

from specframe.costs.model import CostModel

# Steps that say something about a machine, and how far their median must be from what was expected.
_ENOUGH, _DRIFT = 24, 0.15
# Drafts that were misjudged grossly are hardly made any more: a few of them count, if so many times too dear.
_ENOUGH_DRAFTS, _GROSS = 4, 2.0
# What is off by more says something about the clock.
_MOST = 32.0
# Passes over one number of nodes that are believed for themselves, and how far they move the curve at once.
_ENOUGH_OF_A_SIZE, _SHARE = 4, 0.5


@attrs.frozen(slots=True)
class Observed:
    """One step.

    Attributes:
        nodes: of the draft tree, the root included.
        context: tokens before them.
        pass_s: seconds of the target pass.
        expected_pass_s: by the cost model.
        draft_s: seconds of the draft.
        expected_draft_s: by the cost model.
        head_drafted: the LM head drafted; otherwise the context alone, or nothing.
        caught_up: the drafter first had to read what several passes had emitted without it.
    """

    nodes: int
    context: int
    pass_s: float
    expected_pass_s: float
    draft_s: float
    expected_draft_s: float
    head_drafted: bool
    caught_up: bool = False

    @property
    def error(self) -> float:
        """How far the step was from what was expected, as a share of what it took."""
        took = self.pass_s + self.draft_s
        expected = self.expected_pass_s + self.expected_draft_s
        return abs(expected - took) / took if 0 < took < math.inf else 0.0


def refined(costs: CostModel, steps: Sequence[Observed]) -> CostModel | None:
    """Return costs that fit the steps better; None as long as those at hand fit, or few steps say otherwise.

    All curves of a part are scaled by what the part took in the median, and the target pass moves towards
    what was seen at each number of nodes: sizes that were never seen stay in proportion.
    """
    if len(steps) < _ENOUGH:
        return None
    by_nodes: dict[int, list[float]] = defaultdict(list)
    for step in steps:
        if 0 < step.pass_s < math.inf:
            by_nodes[step.nodes].append(step.pass_s / step.expected_pass_s)
    seen = {nodes: median(ratios) for nodes, ratios in by_nodes.items() if len(ratios) >= _ENOUGH_OF_A_SIZE}
    passes = median([ratio for ratios in by_nodes.values() for ratio in ratios] or [1.0])
    if not 1 / _MOST < passes < _MOST:
        return None
    drafts = _scale_of(step for step in steps if step.head_drafted)
    skips = _scale_of(step for step in steps if not step.head_drafted)
    keeps = all(abs(ratio - 1) <= _DRIFT for ratio in (passes, drafts, *seen.values()))
    if keeps and abs(skips - 1) * costs.skip_s <= _DRIFT * costs.pass_s(1):
        return None
    moved = {nodes: costs.pass_s(nodes) * ratio for nodes, ratio in seen.items()}
    return attrs.evolve(
        costs,
        pass_s=costs.pass_s.scaled(passes).moved_towards(moved, _SHARE),
        context_s=costs.context_s.scaled(passes),
        draft_s=costs.draft_s * drafts,
        level_s=costs.level_s.scaled(drafts),
        head_s=costs.head_s.scaled(drafts),
        wide_head_s=costs.wide_head_s.scaled(drafts),
        whole_s=costs.whole_s.scaled(drafts),
        skip_s=costs.skip_s * skips,
        followed=True,
    )


def _scale_of(drafts: Iterable[Observed]) -> float:
    """Return how many times as long as expected drafts of one kind took in the median; 1 for too few."""
    ratios = [
        draft.draft_s / draft.expected_draft_s
        for draft in drafts
        if draft.expected_draft_s > 0 and 0 < draft.draft_s < math.inf and not draft.caught_up
    ]
    scale = median(ratios or [1.0])
    enough = _ENOUGH_DRAFTS if scale < 1 / _GROSS else _ENOUGH
    return min(max(scale, 1 / _MOST), _MOST) if len(ratios) >= enough else 1.0
