"""Texts on paper, and what a budget makes of them: a world without a model, whose times only a test sets."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import attrs
import torch

from specframe.contracts.report import DraftKind
from specframe.contracts.tree import DraftTree, Verdict
from specframe.costs.model import CostModel
from specframe.engine.drafting.step_budget import StepBudget

CONTEXT, ROWS, DEEPEST = 32, 1024, 8


@attrs.frozen
class Text:
    """How often what is drafted is right.

    Attributes:
        hit: probability that the drafter's best token is the target's; each further one has half of what is
            left of that of the one before.
        oov: probability that the target's token is outside the active set.
        sure: probability that the drafter gives its best token; ``hit`` where it knows.
        copies: probability that the context says how it goes on, as a path of four.
        copied: probability of each token of such a path.
    """

    hit: float
    oov: float = 0.0
    sure: float | None = None
    copies: float = 0.0
    copied: float = 0.9


class Decides(Protocol):
    """What decides how a step is drafted."""

    def tree(self, text: Text, copy: bool, width: int) -> DraftTree:
        """Return the tree of a step."""
        ...


def shares(best: float, width: int) -> list[float]:
    """Return the probabilities of the candidates of a node, falling."""
    found = [best]
    for _ in range(width - 1):
        found.append(min(found[-1], (1 - sum(found)) / 2))
    return found


def grown(
    budget: StepBudget | None, widths: Sequence[int], text: Text, width: int, deepest: int = DEEPEST
) -> DraftTree:
    """Return a tree that a budget, or ``widths`` without one, grew level by level."""
    promises = shares(text.hit if text.sure is None else text.sure, width)
    parents, depths, log_probs, paths = [-1], [0], [0.0], [0.0]
    beams, left, depth = [0], list(widths), 1
    while True:
        level: list[int] = []
        for beam in beams:
            for promise in promises:
                level.append(len(parents))
                parents.append(beam)
                depths.append(depth)
                log_probs.append(math.log(max(promise, 1e-6)))
                paths.append(paths[beam] + log_probs[-1])
        level.sort(key=lambda node: -paths[node])
        if depth == deepest:
            break
        if budget is not None:
            granted = budget.beams([paths[node] for node in level[:width]])
        else:
            granted = left.pop(0) if left else 0
        if not granted:
            break
        beams, depth = level[:granted], depth + 1
    numbers = torch.arange(len(parents))
    return DraftTree(numbers, torch.tensor(parents), torch.tensor(depths), torch.tensor(log_probs))


def copied(length: int, promise: float) -> DraftTree:
    """Return a path of the context."""
    numbers = torch.arange(length + 1)
    return DraftTree(numbers, numbers - 1, numbers, torch.tensor([0.0] + [math.log(promise)] * length))


def grafted(tree: DraftTree, path: DraftTree) -> DraftTree:
    """Return the tree with a path below its root, of other tokens."""
    n = len(tree)
    below = path.parents[1:] + n - 1
    below[0] = 0
    return DraftTree(
        torch.arange(n + len(path) - 1),
        torch.cat((tree.parents, below)),
        torch.cat((tree.depths, path.depths[1:])),
        torch.cat((tree.log_probs, path.log_probs[1:])),
    )


@attrs.define
class Run:
    """What became of a text.

    Attributes:
        kinds: of the draft of every pass.
        nodes: of its tree.
        levels: of its tree.
        heads: whether the head drafted.
        tokens: emitted.
        seconds: spent.
    """

    kinds: list[DraftKind] = attrs.field(factory=list)
    nodes: list[int] = attrs.field(factory=list)
    levels: list[int] = attrs.field(factory=list)
    tokens: int = 0
    seconds: float = 0.0

    def share(self, kind: DraftKind) -> float:
        """Return the share of the passes with a kind of draft."""
        return Counter(self.kinds)[kind] / len(self.kinds)

    @property
    def speed(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


def decided(
    costs: CostModel,
    text: Text,
    passes: int = 300,
    *,
    budget: StepBudget | None = None,
    seed: int = 0,
) -> Run:
    """Let a budget decide over a text for so many passes.

    Args:
        costs: of the machine.
        text: what is right.
        passes: how many.
        budget: goes on from an earlier text; by default a new one.
        seed: of what the target says.
    """
    budget = budget or StepBudget(costs, CONTEXT, DEEPEST)
    source, run = random.Random(seed), Run()
    for _ in range(passes):
        full = budget.wants_full(ROWS)
        budget.begin(CONTEXT, None if full else ROWS)
        path = copied(4, text.copied) if source.random() < text.copies else None
        tree = DraftTree.root_only(0)
        if text.copies:  # whoever copies is always asked, and asks itself
            budget.ask()
        if budget.wants_head([] if path is None else path.log_probs[1:].tolist()):
            budget.ask()
            tree = grown(budget, (), text, costs.width)
        first_copied = len(tree)
        if path is not None:
            tree = grafted(tree, path)
        origin = tree
        tree = budget.keep(tree)
        verdict, outside = verified(tree, origin, first_copied, text, source, full=full)
        run.kinds.append(budget.kind)
        run.nodes.append(len(tree))
        run.levels.append(int(tree.depths.max()))
        run.tokens += len(verdict.emitted_ids)
        run.seconds += budget.pass_s(len(tree)) + budget.expected_draft_s
        # Over the full vocabulary, as many of the accepted tokens are outside the active set as of the text.
        accepted = [not full or source.random() >= text.oov for _ in verdict.accepted_ids]
        budget.learn(verdict, [*accepted, not outside])
    return run


def fixed(
    costs: CostModel, text: Text, widths: Sequence[int] | None, passes: int = 300, seed: int = 0
) -> Run:
    """Draft the same shape at every pass; None drafts nothing."""
    source, run = random.Random(seed), Run()
    for _ in range(passes):
        if widths is None:
            run.tokens += 1
            run.seconds += costs.target_pass(1, CONTEXT)
            continue
        tree = grown(None, widths, text, costs.width if max([*widths, 0]) > 1 else 1)
        verdict, _ = verified(tree, tree, len(tree), text, source, full=False)
        run.tokens += len(verdict.emitted_ids)
        run.seconds += costs.target_pass(len(tree), CONTEXT) + costs.draft(widths, ROWS)
    return run


def verified(
    tree: DraftTree, origin: DraftTree, first_copied: int, text: Text, source: random.Random, *, full: bool
) -> tuple[Verdict, bool]:
    """Return a verdict that accepts as the text says, and whether its last token was outside the active set.

    Token ids are the numbers of the nodes in ``origin``, the tree before anything was cut from it.
    """
    parents, numbers, path = tree.parents.tolist(), tree.token_ids.tolist(), [0]
    by_rank = shares(text.hit, 64)
    above = origin.parents.tolist()
    while True:
        children = [node for node, parent in enumerate(parents) if node and parent == path[-1]]
        if not full and source.random() < text.oov:
            return _verdict(path, numbers, at_leaf=not children), True
        drawn, chosen = source.random(), None
        follows = source.random() < text.copied
        for node in children:
            number = numbers[node]
            if number >= first_copied:
                right = follows
            else:
                siblings = [one for one in range(1, first_copied) if above[one] == above[number]]
                drawn -= by_rank[siblings.index(number)]
                right = drawn < 0
            if right:
                chosen = node
                break
        if chosen is None:
            return _verdict(path, numbers, at_leaf=not children), False
        path.append(chosen)


def _verdict(path: list[int], numbers: list[int], *, at_leaf: bool) -> Verdict:
    return Verdict(tuple(path), tuple(numbers[node] for node in path[1:]), 0, path_ends_at_leaf=at_leaf)
