"""Drafting over an active set, or over the full vocabulary; then learning what to keep active."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from torch import Generator, Tensor

from specframe.contracts.active_set import OutsideVocabulary
from specframe.contracts.called.drafter import CalledDrafter
from specframe.contracts.called.strategy import CalledStrategy
from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, VocabularyBuilder
from specframe.contracts.report import DraftKind
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.drafting.protocol import Demands
from specframe.model.target import Prefill
from specframe.vocabulary.memory import MemoryUse, measure
from specframe.vocabulary.noted_head import NotedHead
from specframe.vocabulary.protocol import DraftVocabulary


class Unpruned(VocabularyBuilder):
    """The strategy of whoever drafts over everything."""

    capacity = None
    pinned_ids = torch.empty(0, dtype=torch.int64)


@attrs.define
class ActiveFigures:
    """The ``Figures`` of drafts over a vocabulary.

    Attributes:
        filled: what the strategy fills.
        over: what drafts go over now; ``filled``, unless measured costs decide otherwise.
        others: what else takes memory.
        draft: what the last draft came from; None where no measured costs decide.
        costs: their name.
        cost_error: how far they were from what the last request's steps took, in the median.
    """

    filled: DraftVocabulary
    over: DraftVocabulary = attrs.field(default=attrs.Factory(lambda self: self.filled, takes_self=True))
    others: tuple[DraftVocabulary, ...] = ()
    draft: DraftKind | None = None
    costs: str | None = None
    cost_error: float | None = None

    @property
    def active_size(self) -> Tensor:
        """K of what drafts go over now, [] int64 on the device."""
        return self.over.active_size

    @property
    def rows_fetched(self) -> Tensor:
        """LM-head rows fetched for what the strategy fills, [] int64 on the device."""
        return self.filled.rows_fetched

    @property
    def unknown_ids(self) -> int:
        """How many ids of this request's strategy the drafter's LM head has no row for; a host read."""
        return self.filled.unknown_ids

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every emitted id whether the last draft could have proposed it [n] bool."""
        return self.over.covered(ids)

    def proposable(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every id whether it may be proposed now [n] bool, on the device."""
        return self.over.proposable(ids)

    def memory_use(self) -> MemoryUse:
        """Return what the packed head, the active set and the full head take."""
        return measure([self.filled, *self.others])


class ActiveDrafting:
    """The ``Drafting`` of a drafter whose LM head is cut down to what a strategy keeps active.

    Args:
        drafter: proposes the trees.
        strategy: fills the vocabulary; not asked where that is the full one.
        vocabulary: a ``VocabularyStore``; a ``WholeVocabulary`` where the strategy has no capacity; or
            ``EveryToken`` where the drafter has no LM head.
    """

    def __init__(self, drafter: Drafter, strategy: VocabularyBuilder, vocabulary: DraftVocabulary) -> None:
        self.drafter, self.strategy = CalledDrafter.of(drafter), CalledStrategy.of(strategy)
        self.demands = Demands.of(self.drafter, self.strategy)
        self.figures = ActiveFigures(vocabulary)
        self._vocabulary = vocabulary
        self._learns = self.strategy.capacity is not None
        self._note: Callable[[Tensor], None] | None = None
        self.drafter.propose_among(self.figures.proposable)

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return how many first positions of a turn need not be read again.

        The drafter may remember fewer than are shared, and the last of these is always read again. The
        drafter, and a strategy that starts afresh, are shown as many of the prompt's last positions as for
        any prompt.
        """
        drafter, window = self.drafter, self.demands.prompt_window
        kept = min(max(shared - 1, 0), drafter.remembered)
        if self.strategy.keeps_active_set:
            window = drafter.prompt_window if drafter.harvest_topk else 0
        return max(min(kept, prompt_tokens - window), 0)

    def start(
        self, prompt_ids: Tensor, prefill: Prefill, generator: Generator, clock: PhaseClock, kept: int = 0
    ) -> None:
        """Let the drafter read the prompt, and fill the active set: from nothing, or from the turn before."""
        self.drafter.sample_from(generator, lambda count: self.figures.over.active_ids(count))
        if kept:
            self.drafter.resume(prompt_ids, prefill.features, kept)
        else:
            self.drafter.start(prompt_ids, prefill.features)
        k, window = self.drafter.harvest_topk, self.drafter.prompt_window
        if prefill.top is not None and k and window:
            self.drafter.learn_prompt(prompt_ids[-window:], prefill.top.cut(k, last=window))
        clock.lap("prefill")
        if self._learns:
            goes_on = kept > 0 and self.strategy.keeps_active_set
            if not goes_on:
                self._vocabulary.reset()
            ids = self.strategy.start(prompt_ids[kept:] if goes_on else prompt_ids, self._prompt(prefill))
            self.admit(ids)
            clock.lap("vocabulary")

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return the drafter's tree."""
        over = self.figures.over
        over.begin_draft()
        head = over.head if self._note is None else NotedHead(over.head, self._note)
        tree = self.drafter.draft(root, features, head, clock)
        clock.lap("draft_tree")
        return tree

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None, clock: PhaseClock) -> None:
        """Tell the drafter what was accepted, let it learn, and admit what the strategy learnt."""
        self.drafter.commit(verdict)
        self.let_drafter_learn(verdict, tree, top)
        clock.lap("draft_backbone")
        self.observe(verdict, tree, top)
        clock.lap("vocabulary")

    def let_drafter_learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None) -> None:
        """Let the drafter learn from a target pass."""
        k = self.drafter.harvest_topk
        self.drafter.learn(verdict, tree, top.cut(k) if top is not None and k else None)

    def forget(self) -> None:
        """Have the drafter forget what it learnt in earlier requests."""
        self.drafter.forget()

    def listen(self, note: Callable[[Tensor], None]) -> None:
        """Have the hidden states [N, H] of every call of the drafter's LM head noted from now on."""
        self._note = note

    def finish(self) -> None:
        """End a request; the next one starts afresh."""
        self.drafter.finish()

    def observe(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None) -> None:
        """Admit what the strategy learns from a target pass: the place where a verdict becomes ids."""
        if self._learns:
            k = self.strategy.harvest_topk
            ids = self.strategy.observe(verdict, tree, top.ids[:, :k] if top is not None and k else None)
            self.admit(ids)

    def _prompt(self, prefill: Prefill) -> Tensor | None:
        """Return the top ids of the prompt that the strategy asks for."""
        k, window = self.strategy.harvest_topk, self.strategy.prompt_window
        return prefill.top.cut(k, last=window).ids if prefill.top is not None and k and window else None

    def admit(self, ids: Tensor) -> None:
        """Admit what the strategy returned.

        Raises:
            ComponentError: one of them is outside the vocabulary, where the admitter looks.
        """
        try:
            self._vocabulary.admit(ids)
        except OutsideVocabulary as error:
            raise self.strategy.owner.fault(f"returned {error}") from error
