"""Drafts what pays by the measured costs: over what, how much, or not at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from statistics import median

import attrs
import torch
from torch import Generator, Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.costs.drift import Observed, refined
from specframe.costs.model import CostModel
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.drafting.step_budget import StepBudget
from specframe.engine.tree_check import misshapen
from specframe.model.target import Prefill
from specframe.ops.contention import ContentionWatch
from specframe.vocabulary.protocol import DraftVocabulary

# Passes without a draft that drafter and strategy are told of at once: bounds the features that are kept.
_TOLD_AT_ONCE = 64
# Steps that say whether a machine keeps to its costs: so short requests say it together.
_REMEMBERED = 256


@attrs.define
class _Untold:
    """Passes without a draft that drafter and strategy have not been told of.

    Attributes:
        tokens: what the drafter has to read.
        features: at the positions before them, each [n, F].
        roots: of the passes.
        top: the target's top ids of each pass [1, harvest_topk].
    """

    tokens: list[int] = attrs.field(factory=list)
    features: list[Tensor] = attrs.field(factory=list)
    roots: list[int] = attrs.field(factory=list)
    top: list[TopTokens] = attrs.field(factory=list)

    def add(self, accepted: tuple[int, ...], root: int, features: Tensor) -> None:
        """Add a pass with this root, before which ``accepted`` were accepted."""
        self.tokens += [*accepted, root]
        self.features.append(features)
        self.roots.append(root)


class PlannedDrafting:
    """The ``Drafting`` of a budget over another one, request by request.

    While nothing is drafted, drafter and strategy are not asked. They are told of these passes many at a
    time, and before the next draft: the drafter as of tokens that it reads, the strategy as of one chain of
    nodes that were all accepted. A drafter that cannot pause is always asked, and so is one that copies the
    context, which decides itself whether its head drafts, and one that has no head.

    Args:
        inner: drafts over what the strategy fills.
        whole: the full vocabulary; None where the strategy prunes nothing.
        costs: of the machine.
        keep: is told of costs that were measured anew; None pins the costs.

    Attributes:
        costs: as they are now; they change between requests only.
        budget: of the request.
    """

    def __init__(
        self,
        inner: ActiveDrafting,
        whole: DraftVocabulary | None,
        costs: CostModel,
        keep: Callable[[CostModel], None] | None = None,
    ) -> None:
        self.drafter, self.demands, self.figures = inner.drafter, inner.demands, inner.figures
        self.costs = self._quiet = costs
        self._disturbed = False  # the costs hold while other programs run
        self._inner, self._whole, self._keep = inner, whole, keep
        self._filled = inner.figures.filled
        inner.figures.others = () if whole is None else (whole,)
        self._paused = self._begun = False
        self._accepted: tuple[int, ...] = ()
        self._untold = _Untold()
        # Of this request, and since the costs last changed.
        self._observed: list[Observed] = []
        self._seen: deque[Observed] = deque(maxlen=_REMEMBERED)
        self._has_head = self.drafter.output_head is not None
        self._can_stop = self.drafter.can_pause and self._has_head and not self.drafter.copies_context
        self._nodes = torch.arange(self.demands.max_nodes, device=self._filled.device)
        self._begin(0)

    def _begin(self, context: int) -> None:
        self._length, self._observed, self._watch = context, [], ContentionWatch()
        self._accepted, self._untold = (), _Untold()
        self._behind = False  # the drafter has not read what the last pass emitted
        self.budget = StepBudget(self.costs, context, self.demands.max_depth)
        self.drafter.draft_within(self.budget)

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return how many first positions of a turn need not be read again, as in ``ActiveDrafting``."""
        if shared:
            self._tell_drafter()
        return self._inner.reusable(shared, prompt_tokens)

    def start(
        self, prompt_ids: Tensor, prefill: Prefill, generator: Generator, clock: PhaseClock, kept: int = 0
    ) -> None:
        """Begin a request with what the strategy keeps active."""
        self.figures.draft, self.figures.over = None, self._filled
        self.figures.costs = self.costs.name
        self._begin(len(prompt_ids))
        self._begun = True
        self._inner.start(prompt_ids, prefill, generator, clock, kept)
        clock.split()  # what the prompt took says nothing about passes

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return what is worth verifying of the drafter's tree, or the root alone."""
        budget, figures = self.budget, self.figures
        active = None if self._inner.strategy.capacity is None else int(self._filled.active_size)
        full = active is not None and self._whole is not None and budget.wants_full(active)
        budget.begin(self._length, None if full else active)
        self._paused = self._can_stop and not budget.wants_head()
        roots = self._untold.roots
        if roots and (not self._paused or len(roots) == _TOLD_AT_ONCE):
            self._tell_drafter()
            self._let_learn(root)
            clock.lap("vocabulary")
        if self._paused:
            figures.draft = budget.kind
            self._untold.add(self._accepted, root, features)
            self._accepted = ()
            return DraftTree.root_only(root, features.device)
        figures.over = self._whole if full and self._whole is not None else self._filled
        budget.ask(head=self._has_head)
        tree = self._inner.draft(root, features, clock)
        if misshapen(tree, self._nodes) is None:
            tree = budget.keep(tree)
        figures.draft = budget.kind
        clock.lap("draft_tree")
        return tree

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None, clock: PhaseClock) -> None:
        """Tell the budget what the pass emitted, and go on as ``ActiveDrafting`` does."""
        self._observe(len(tree), clock)
        active = [True] * len(verdict.emitted_ids) if self._paused else self._active(verdict)
        self.budget.learn(verdict, active)
        self._length += len(verdict.emitted_ids)
        if self._paused:
            if top is not None:
                self._untold.top.append(top)
            return
        self._accepted = verdict.accepted_ids
        self._inner.learn(verdict, tree, top, clock)

    def forget(self) -> None:
        """Have the drafter forget what it learnt, as in ``ActiveDrafting``."""
        self._inner.forget()

    def listen(self, note: Callable[[Tensor], None]) -> None:
        """Have hidden states noted, as in ``ActiveDrafting``."""
        self._inner.listen(note)

    def finish(self) -> None:
        """End a request: costs that its steps did not keep to are measured by them."""
        self._inner.finish()
        observed, self._observed = self._observed, []
        if not self._begun:  # a request without a draft step
            self.figures.costs = self.figures.cost_error = None
            return
        self._begun = False
        self.figures.cost_error = median(step.error for step in observed) if observed else None
        if self._keep is not None:
            self._fit(observed, self._keep, disturbed=self._watch.found)

    def _fit(
        self, observed: Sequence[Observed], keep: Callable[[CostModel], None], *, disturbed: bool
    ) -> None:
        """Let the costs follow what steps took; those beside other programs hold as long as these run.

        They may say that the head is too dear to be asked again, so nothing would ever show that it no longer
        is. That is why the costs from before come back.
        """
        if disturbed != self._disturbed:
            self._disturbed = disturbed
            self._seen.clear()
            if self.costs is not self._quiet:  # by which these steps were not expected
                self.costs = self._quiet
                return
        self._seen += observed
        better = refined(self.costs, self._seen)
        if better is None:
            return
        self.costs = better
        self._seen.clear()
        if not disturbed:
            self._quiet = better
            keep(better)

    def _active(self, verdict: Verdict) -> list[bool]:
        active: list[bool] = self._filled.covered(verdict.emitted_ids).tolist()
        return active

    def _observe(self, nodes: int, clock: PhaseClock) -> None:
        """Compare the seconds of a step with what the costs say."""
        seconds, budget = clock.split(), self.budget
        drafted = sum(seconds.get(phase, 0.0) for phase in ("draft_backbone", "draft_head", "draft_tree"))
        expected = budget.pass_s(nodes)
        head_drafted = budget.kind in ("active", "full")
        self._observed.append(
            Observed(
                nodes,
                self._length,
                seconds.get("target_pass", 0.0),
                expected,
                0.0 if self._paused else drafted,
                budget.expected_draft_s,
                head_drafted,
                caught_up=head_drafted and self._behind,
            )
        )
        self._behind = not head_drafted

    def _tell_drafter(self) -> None:
        """Let the drafter read what was emitted without it."""
        untold = self._untold
        if not untold.tokens:
            return
        features = torch.cat(untold.features)
        self.drafter.skip(torch.tensor(untold.tokens, device=features.device), features)
        untold.tokens, untold.features = [], []

    def _let_learn(self, next_token: int) -> None:
        """Let drafter and strategy learn from the passes without a draft; ``next_token`` came after them."""
        roots, top = self._untold.roots, self._untold.top
        self._untold = _Untold()
        device, n = self._nodes.device, len(roots)
        nodes = torch.arange(n, device=device)
        chain = DraftTree(
            token_ids=torch.tensor(roots, device=device),
            parents=nodes - 1,
            depths=nodes,
            log_probs=torch.zeros(n, device=device),
        )
        verdict = Verdict(tuple(range(n)), tuple(roots[1:]), next_token, path_ends_at_leaf=True)
        seen = TopTokens.cat(top) if top else None
        self._inner.let_drafter_learn(verdict, chain, seen)
        self._inner.observe(verdict, chain, seen)
