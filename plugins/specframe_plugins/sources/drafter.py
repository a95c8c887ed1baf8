"""The drafter of token sources: their tree alone, or grafted onto the tree of a drafter with a head.

Prune, then graft what was retrieved into the places that are left: with a budget the least likely nodes of
the whole tree are cut, whoever proposed them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from specframe.contracts.budget import Budget
from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe_plugins.sources.growth import Growth, Sprout, graft, grow, without_inactive
from specframe_plugins.sources.rates import Rates
from specframe_plugins.sources.source import Evidence, Seen, Source

# A node that is less likely to be reached is not worth its place in a target pass.
LEAST_LIKELY = 0.05
# Without a budget, another drafter's tree is left out where something is likelier than this to come next.
_LIKELY_ENOUGH = 0.6
# Tokens that the other drafter is told of at once, while its head does not draft: bounds the features kept.
_TOLD_AT_ONCE = 64


class SourceDrafter(Drafter):
    """Drafts what sources guess, beside another drafter's tree or alone.

    It proposes nothing before it knows what is active, and nothing below a token that is not.

    Args:
        sources: guess; names of their evidence must differ.
        nodes: most of the sources' nodes in a tree.
        inner: the other drafter, of trees of the most likely tokens; None for sources alone.

    Attributes:
        output_head: the other drafter's LM head.
        branching: the other drafter's.
        max_depth: the deepest level of its trees.
        max_nodes: N of its trees, the root included.
        feature_layers: the other drafter's.
        harvest_topk: what the sources and the other drafter ask for together, and so below.
    """

    def __init__(self, sources: Sequence[Source], nodes: int, inner: Drafter | None = None) -> None:
        self._sources, self._nodes, self._inner = tuple(sources), nodes, inner
        self.can_pause = self.copies_context = inner is not None
        self.max_depth = max(source.depth for source in sources)
        self.max_nodes = 1 + nodes
        asking: list[Source | Drafter] = [*sources]
        if inner is not None:
            self.output_head, self.branching = inner.output_head, inner.branching
            self.feature_layers = inner.feature_layers
            self.max_depth = max(inner.max_depth, self.max_depth)
            self.max_nodes = inner.max_nodes + nodes
            asking.append(inner)
        self.harvest_topk = max(one.harvest_topk for one in asking)
        self.harvest_log_probs = any(one.harvest_log_probs for one in asking if one.harvest_topk)
        self.prompt_window = max(one.prompt_window if one.harvest_topk else 0 for one in asking)
        self._are_active: Callable[[tuple[int, ...]], Tensor] | None = None
        self._budget: Budget | None = None
        self._accepted_ids: tuple[int, ...] = ()
        self._uncommitted: Verdict | None = None
        self._begin([])

    def draft_within(self, budget: Budget) -> None:
        """Take what says whether a head pays beside the sources; the other drafter does so too."""
        self._budget = budget
        if self._inner is not None:
            self._inner.draft_within(budget)

    def propose_among(self, are_active: Callable[[tuple[int, ...]], Tensor]) -> None:
        """Take what says which tokens may be proposed, as in ``Drafter``."""
        self._are_active = are_active

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request with a prompt [T]; the other drafter reads its features [T, F]."""
        if self._inner is not None:
            self._inner.start(prompt_ids, features)
        self._begin(prompt_ids.tolist())

    @property
    def remembered(self) -> int:
        """How much the other drafter remembers; sources read any prompt anew."""
        if self._inner is None:
            return self._read_until
        self._tell()
        return self._inner.remembered

    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request of which the other drafter has read the first ``kept`` positions."""
        if self._inner is not None:
            self._inner.resume(prompt_ids, features, kept)
        self._begin(prompt_ids.tolist())

    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        """Take over tokens [n] that were emitted without a draft, as in ``Drafter``."""
        ids, pending = token_ids.tolist(), len(self._accepted_ids) + 1
        if self._inner is not None:
            self._leave_untold(tuple(ids), features)
            self._tell()
        for emitted in (ids[:pending], *([token_id] for token_id in ids[pending:])):
            self._read(emitted)
            self._grow()  # what would have been drafted is learnt from all the same

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``: the sources' tree alone where it is likely, else beside the other drafter's.

        The clock laps the phases of the other drafter; the sources' tree is part of ``draft_tree``.
        """
        emitted = (*self._accepted_ids, root)
        self._read(emitted)
        grown = self._grow()
        clock.lap("draft_tree")
        tree = DraftTree.root_only(root, features.device)
        if self._inner is not None:
            if self._wants_head(grown):
                self._tell()
                tree = self._inner.draft(root, features, head, clock)
            else:
                self._leave_untold(emitted, features)
                if sum(len(ids) for ids, _ in self._untold) >= _TOLD_AT_ONCE:
                    self._tell()
                clock.lap("draft_backbone")
                clock.lap("draft_head")  # nothing: only a captured step has no time of its head
        tree = graft(tree, grown) if grown else tree
        clock.lap("draft_tree")
        return tree

    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted path; the other drafter does so as soon as it knows all before it."""
        self._accepted_ids = verdict.accepted_ids
        if self._inner is None:
            return
        if self._untold:
            self._uncommitted = verdict
        else:
            self._inner.commit(verdict)

    def learn_prompt(self, token_ids: Tensor, top: TopTokens) -> None:
        """Let the sources and the other drafter learn of a prompt, as in ``Drafter``."""
        for source in self._sources:
            if source.harvest_topk and source.prompt_window:
                ids = token_ids[-source.prompt_window :].tolist()
                cut = top.cut(source.harvest_topk, last=source.prompt_window)
                source.learn_prompt(ids, cut.ids.tolist())
        inner = self._inner
        if inner is not None and inner.harvest_topk and inner.prompt_window:
            cut = top.cut(inner.harvest_topk, last=inner.prompt_window)
            inner.learn_prompt(token_ids[-inner.prompt_window :], cut)

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None) -> None:
        """Let the sources learn from a target pass, and the other drafter once it knows all before it."""
        if top is not None and any(source.harvest_topk for source in self._sources):
            token_ids, parents = torch.stack([tree.token_ids, tree.parents]).tolist()
            top_ids = top.ids.tolist()
            likely = None if top.log_probs is None else top.log_probs.exp().tolist()
            seen = Seen(self._before, token_ids, parents, top_ids, verdict.path[-1], likely)
            for source in self._sources:
                if source.harvest_topk:
                    source.learn(seen.first(source.harvest_topk))
        if self._inner is not None:
            k = self._inner.harvest_topk
            self._unlearnt.append((verdict, tree, top.cut(k) if top is not None and k else None))
            if not self._untold:
                self._let_learn(self._inner)

    def forget(self) -> None:
        """Have the sources and the other drafter forget what they learnt in earlier requests."""
        for source in self._sources:
            source.forget()
        if self._inner is not None:
            self._inner.forget()

    def finish(self) -> None:
        """End a request for the other drafter too."""
        if self._inner is not None:
            self._inner.finish()

    def _begin(self, prompt_ids: list[int]) -> None:
        """Forget all that earlier requests said."""
        self._untold: list[tuple[tuple[int, ...], Tensor]] = []
        self._unlearnt: list[tuple[Verdict, DraftTree, TopTokens | None]] = []
        self._uncommitted = None
        self._accepted_ids = ()
        self._growth = Growth()
        self._read_until = max(len(prompt_ids) - 1, 0)
        self._before = self._last = prompt_ids[-1] if prompt_ids else 0
        prior: dict[Hashable, Callable[[Evidence], tuple[float, float]]] = {}
        for source in self._sources:
            source.begin(prompt_ids)
            prior[source.name] = source.prior
        self._rates = Rates(lambda evidence: prior[evidence[0]](evidence))

    def _grow(self) -> list[Sprout]:
        """Return what the sources propose, and note it whether it may be proposed or not."""
        self._growth = grow(self._sources, self._rates.estimate, self._nodes, LEAST_LIKELY)
        sprouts = self._growth.sprouts
        if not sprouts or self._are_active is None:
            return []
        active = self._are_active(tuple(one.token_id for one in sprouts)).tolist()
        return without_inactive(sprouts, active)

    def _wants_head(self, grown: Sequence[Sprout]) -> bool:
        """Return whether the other drafter drafts beside what the sources propose."""
        next_ones = sum(one.probability for one in grown if one.parent < 0)
        if self._budget is not None:
            return self._budget.wants_head([math.log(min(next_ones, 1.0))] if next_ones else [])
        return next_ones < _LIKELY_ENOUGH

    def _leave_untold(self, emitted: tuple[int, ...], features: Tensor) -> None:
        """Note what the other drafter has to read before its next draft."""
        self._untold.append((emitted, features))
        self._uncommitted = None

    def _tell(self) -> None:
        """Let the other drafter read what was emitted while its head did not draft."""
        if not self._untold or self._inner is None:
            return
        ids = [token_id for emitted, _ in self._untold for token_id in emitted]
        features = torch.cat([features for _, features in self._untold])
        self._untold = []
        self._inner.skip(torch.tensor(ids, device=features.device), features)
        if self._uncommitted is not None:
            self._inner.commit(self._uncommitted)
            self._uncommitted = None
        self._let_learn(self._inner)

    def _let_learn(self, inner: Drafter) -> None:
        for verdict, tree, top in self._unlearnt:
            inner.learn(verdict, tree, top)
        self._unlearnt = []

    def _read(self, token_ids: Sequence[int]) -> None:
        """Add what one target pass emitted, and learn from it which guesses were right."""
        for evidence, right in self._growth.outcomes(token_ids):
            self._rates.learn(evidence, right=right)
        self._growth = Growth()
        for source in self._sources:
            source.read(token_ids)
        text = (self._last, *token_ids)
        self._before, self._last = text[-2], text[-1]
        self._read_until += len(token_ids)
        self._accepted_ids = ()
