"""Drafts over whatever a controller chooses for the next target pass, or not at all."""

from __future__ import annotations

import attrs
import torch
from torch import Generator, Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.faults import blaming
from specframe.contracts.report import Arm
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.drafting.controller import Controller
from specframe.model.target import Prefill
from specframe.vocabulary.protocol import DraftVocabulary

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


class ControlledDrafting:
    """The ``Drafting`` of a controller that chooses for another one, pass by pass.

    While drafting is stopped, drafter and strategy are not asked. They are told of these passes many at a
    time, and before the next draft: the drafter as of tokens that it reads, the strategy as of one chain of
    nodes that were all accepted.

    Args:
        inner: drafts; where its strategy has spare ids, over a larger active set too. A drafter that cannot
            pause is never stopped.
        whole: the full vocabulary.
        controller: chooses; None makes one.
    """

    def __init__(
        self, inner: ActiveDrafting, whole: DraftVocabulary, controller: Controller | None = None
    ) -> None:
        self.drafter, self.demands, self.figures = inner.drafter, inner.demands, inner.figures
        self._inner, self._whole = inner, whole
        self._filled = inner.figures.filled
        inner.figures.others = (whole,)
        spare_ids = inner.strategy.spare_ids
        arms: tuple[Arm, ...] = ("full",)
        self._spare_ids = spare_ids if spare_ids is not None and len(spare_ids) else None
        if inner.strategy.capacity is not None:
            arms = ("pruned", "full") if self._spare_ids is None else ("pruned", "grown", "full")
        self._controller = controller or Controller(
            arms, self.demands.max_depth, can_stop=self.drafter.can_pause
        )
        self._clock: PhaseClock | None = None
        self._accepted: tuple[int, ...] = ()
        self._untold = _Untold()
        self._grown = False

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return how many first positions of a turn need not be read again, as in ``ActiveDrafting``."""
        if shared:
            self._tell_drafter()
        return self._inner.reusable(shared, prompt_tokens)

    def start(
        self, prompt_ids: Tensor, prefill: Prefill, generator: Generator, clock: PhaseClock, kept: int = 0
    ) -> None:
        """Begin a request with what the strategy keeps active."""
        self.figures.arm, self.figures.over = None, self._filled
        self._accepted, self._untold = (), _Untold()
        if self._grown:  # the active set may be kept
            self._resize(False)
        self._inner.start(prompt_ids, prefill, generator, clock, kept)
        if clock is not self._clock:
            self._clock = clock
            self._controller.forget_costs()
        self._controller.begin()
        clock.split()  # what the prompt took says nothing about passes

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return the drafter's tree, or the root alone."""
        arm = self.figures.arm = self._controller.choose()
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
        self.figures.over = self._whole if arm == "full" else self._filled
        if self._grown != (arm == "grown"):
            self._resize(arm == "grown")
            clock.lap("vocabulary")
        return self._inner.draft(root, features, clock)

    def learn(self, verdict: Verdict, tree: DraftTree, topk_ids: Tensor | None, clock: PhaseClock) -> None:
        """Tell the controller what the pass took and emitted, and go on as ``ActiveDrafting`` does."""
        arm = self.figures.arm
        assert arm is not None
        seconds = clock.split()
        if arm == "stopped":
            self._controller.observe_stopped(seconds)
            if topk_ids is not None:
                self._untold.topk_ids.append(topk_ids)
            return
        covered = self._filled.covered(verdict.emitted_ids).tolist()
        self._controller.observe(arm, seconds, covered, verdict.path_ends_at_leaf)
        self._accepted = verdict.accepted_ids
        self._inner.learn(verdict, tree, topk_ids, clock)

    def _resize(self, grow: bool) -> None:
        """Admit the strategy's spare ids, or make them inactive."""
        assert self._spare_ids is not None
        if grow:
            self._inner.admit(self._spare_ids)
        else:
            self._filled.drop(self._spare_ids)
        self._grown = grow

    def _tell_drafter(self) -> None:
        """Let the drafter read what was emitted without it."""
        untold = self._untold
        if not untold.tokens:
            return
        features = torch.cat(untold.features)
        with blaming("drafter"):
            self.drafter.skip(torch.tensor(untold.tokens, device=features.device), features)
        untold.tokens, untold.features = [], []

    def _tell_strategy(self, next_token: int) -> None:
        """Let the strategy learn from the passes without a draft; ``next_token`` came after them."""
        roots, topk_ids = self._untold.roots, self._untold.topk_ids
        self._untold = _Untold()
        device, n = self.drafter.output_head.device, len(roots)
        nodes = torch.arange(n, device=device)
        chain = DraftTree(
            token_ids=torch.tensor(roots, device=device),
            parents=nodes - 1,
            depths=nodes,
            log_probs=torch.zeros(n, device=device),
        )
        verdict = Verdict(tuple(range(n)), tuple(roots[1:]), next_token, path_ends_at_leaf=True)
        self._inner.observe(verdict, chain, torch.cat(topk_ids) if topk_ids else None)
