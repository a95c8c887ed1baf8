"""Drafts over whatever a controller chooses for the next target pass, or not at all."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import (
    Drafter,
    GatherBackend,
    GrowableVocabulary,
    PausableDrafter,
    VocabularyBuilder,
)
from specframe.contracts.report import Arm
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.controller import Controller
from specframe.engine.drafting import Drafting
from specframe.engine.memory import MemoryUse, measure
from specframe.model.target import Prefill
from specframe.vocabulary.store import VocabularyStore

# Passes without a draft that drafter and strategy are told of at once: bounds the features that are kept.
_TOLD_AT_ONCE = 64


@attrs.define
class _Untold:
    """Passes without a draft that drafter and strategy have not been told of.

    Attributes:
        tokens: what the drafter has to read.
        features: at the positions before them, each [n, F].
        roots: of the passes.
        topk_ids: the target's top ids of each pass [1, harvest_topk].
    """

    tokens: list[int] = attrs.field(factory=list)
    features: list[Tensor] = attrs.field(factory=list)
    roots: list[int] = attrs.field(factory=list)
    topk_ids: list[Tensor] = attrs.field(factory=list)

    def add(self, accepted: tuple[int, ...], root: int, features: Tensor) -> None:
        """Add a pass with this root, before which ``accepted`` were accepted."""
        self.tokens += [*accepted, root]
        self.features.append(features)
        self.roots.append(root)


class ControlledDrafting(Drafting):
    """Drafts with what the controller chooses.

    While drafting is stopped, drafter and strategy are not asked. They are told of these passes many at a
    time, and before the next draft: the drafter as of tokens that it reads, the strategy as of one chain of
    nodes that were all accepted.

    Args:
        drafter: proposes the trees; one that is no ``PausableDrafter`` is never stopped.
        head: the drafter's LM head over the active set.
        strategy: fills the active set; with the members of ``GrowableVocabulary``, a larger one too.
        store: the active set; None for the full vocabulary.
        full_head: the drafter's LM head over all its rows.
        controller: chooses; None makes one.
    """

    def __init__(
        self,
        drafter: Drafter,
        head: GatherBackend,
        strategy: VocabularyBuilder,
        store: VocabularyStore | None,
        full_head: GatherBackend,
        controller: Controller | None = None,
    ) -> None:
        super().__init__(drafter, head, strategy, store)
        self._active_head, self._full_head = head, full_head
        self._spare_ids = None
        if store is not None and isinstance(strategy, GrowableVocabulary) and len(strategy.spare_ids):
            self._spare_ids = strategy.spare_ids
        arms: tuple[Arm, ...] = ("full",)
        if store is not None:
            arms = ("pruned", "full") if self._spare_ids is None else ("pruned", "grown", "full")
        can_stop = isinstance(drafter, PausableDrafter)
        self._controller = controller or Controller(arms, drafter.max_depth, can_stop=can_stop)
        self._clock: PhaseClock | None = None
        self._arm: Arm | None = None
        self._accepted: tuple[int, ...] = ()
        self._untold = _Untold()
        self._grown = False

    @property
    def arm(self) -> Arm | None:
        """What the controller chose for the last draft."""
        return self._arm

    @property
    def named_components(self) -> list[tuple[str, object]]:
        """The components, with what errors call them."""
        return [*super().named_components, ("gather backend", self._full_head)]

    def memory_use(self) -> MemoryUse:
        """Return what the packed head, the active set and the full head take."""
        active = None if self._store is None else self._store.active
        heads = (self._active_head, self._full_head)
        return measure(self._drafter.output_head, heads, self._store, active)

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return how many first positions of a turn need not be read again, as in ``Drafting``."""
        if shared:
            self._tell_drafter()
        return super().reusable(shared, prompt_tokens)

    def start(self, prompt_ids: Tensor, prefill: Prefill, clock: PhaseClock, kept: int = 0) -> None:
        """Begin a request with what the strategy keeps active."""
        self._arm, self._accepted, self._untold = None, (), _Untold()
        self._over_everything = self._store is None
        if self._grown:  # the active set may be kept
            self._resize(False)
        super().start(prompt_ids, prefill, clock, kept)
        if clock is not self._clock:
            self._clock = clock
            self._controller.forget_costs()
        self._controller.begin()
        clock.split()  # what the prompt took says nothing about passes

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return the drafter's tree, or the root alone."""
        arm = self._arm = self._controller.choose()
        roots = self._untold.roots
        if roots and (arm != "stopped" or len(roots) == _TOLD_AT_ONCE):
            self._tell_drafter()
            clock.lap("draft_backbone")
            self._tell_strategy(root)
            clock.lap("vocabulary")
        if arm == "stopped":
            self._untold.add(self._accepted, root, features)
            self._accepted = ()
            return DraftTree.root_only(root, features.device)
        self._over_everything = arm == "full"
        self._head = self._full_head if self._over_everything else self._active_head
        if self._grown != (arm == "grown"):
            self._resize(arm == "grown")
            clock.lap("vocabulary")
        return super().draft(root, features, clock)

    def learn(self, verdict: Verdict, tree: DraftTree, topk_ids: Tensor | None, clock: PhaseClock) -> None:
        """Tell the controller what the pass took and emitted, and go on as ``Drafting`` does."""
        assert self._arm is not None
        seconds = clock.split()
        if self._arm == "stopped":
            self._controller.observe_stopped(seconds)
            if topk_ids is not None:
                self._untold.topk_ids.append(topk_ids)
            return
        covered = self._were_active(verdict.emitted_ids)
        self._controller.observe(self._arm, seconds, covered, verdict.path_ends_at_leaf)
        self._accepted = verdict.accepted_ids
        super().learn(verdict, tree, topk_ids, clock)

    def _were_active(self, ids: tuple[int, ...]) -> list[bool]:
        """Return for every id whether it is in the store's active set; a host read."""
        if self._store is None:
            return [True] * len(ids)
        on_device = torch.tensor(ids).to(self._drafter.output_head.weight.device, non_blocking=True)
        contained: list[bool] = self._store.contains(on_device).tolist()
        return contained

    def _resize(self, grow: bool) -> None:
        """Admit the strategy's spare ids, or make them inactive."""
        assert self._store is not None
        assert self._spare_ids is not None
        if grow:
            self._admit(self._spare_ids)
        else:
            self._store.drop(self._spare_ids)
        self._grown = grow

    def _tell_drafter(self) -> None:
        """Let the drafter read what was emitted without it."""
        untold = self._untold
        if not untold.tokens:
            return
        assert isinstance(self._drafter, PausableDrafter)
        features = torch.cat(untold.features)
        self._drafter.skip(torch.tensor(untold.tokens, device=features.device), features)
        untold.tokens, untold.features = [], []

    def _tell_strategy(self, next_token: int) -> None:
        """Let the strategy learn from the passes without a draft; ``next_token`` came after them."""
        roots, topk_ids = self._untold.roots, self._untold.topk_ids
        self._untold = _Untold()
        if self._store is None:
            return
        device, n = self._drafter.output_head.weight.device, len(roots)
        nodes = torch.arange(n, device=device)
        chain = DraftTree(
            token_ids=torch.tensor(roots, device=device),
            parents=nodes - 1,
            depths=nodes,
            log_probs=torch.zeros(n, device=device),
        )
        verdict = Verdict(tuple(range(n)), tuple(roots[1:]), next_token, path_ends_at_leaf=True)
        self._admit(self._strategy.observe(verdict, chain, torch.cat(topk_ids) if topk_ids else None))
