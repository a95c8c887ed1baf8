"""What happens between two target passes: draft over the active set, then learn what to keep active."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import (
    CopiesContext,
    Drafter,
    DrawsTrees,
    GatherBackend,
    ReadsLayers,
    ResumableDrafter,
    VocabularyBuilder,
)
from specframe.contracts.report import Arm
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.faults import BrokenContract
from specframe.engine.memory import MemoryUse, measure
from specframe.model.target import Prefill
from specframe.vocabulary.admission import OutsideVocabulary
from specframe.vocabulary.store import VocabularyStore

_ID_DTYPES = (torch.int64, torch.int32)


class Autoregressive:
    """Drafts nothing, so that every target pass emits one token: the baseline.

    Attributes:
        branching: the largest k that the drafter asks the head for.
        max_depth: the deepest level of a draft tree.
        max_nodes: the largest N of a draft tree, the root included.
        harvest_topk: how many of the target's top ids are wanted per position.
        prompt_window: for how many of the last prompt positions.
        feature_layers: layers of the target whose inputs are the features; with none, it is its output.
    """

    branching = 1
    max_depth = 0
    max_nodes = 1
    harvest_topk = 0
    prompt_window = 0
    feature_layers: tuple[int, ...] = ()

    @property
    def output_head(self) -> OutputHead | None:
        """The LM head that the drafter drafts with; None without a drafter."""
        return None

    @property
    def arm(self) -> Arm | None:
        """What a controller chose for the last draft; None without one."""
        return None

    @property
    def active_size(self) -> Tensor:
        """K, how many tokens may be proposed now, [] int64 on the device."""
        return torch.tensor(0)

    @property
    def rows_fetched(self) -> Tensor:
        """LM-head rows fetched since the request began, [] int64 on the device."""
        return torch.tensor(0)

    @property
    def unknown_ids(self) -> int:
        """How many ids of this request's strategy the drafter's LM head has no row for; a host read."""
        return 0

    def memory_use(self) -> MemoryUse | None:
        """Return what the vocabulary costs in memory; None where nothing is drafted."""
        return None

    @property
    def drafter(self) -> object:
        """Who answers for the draft trees."""
        return self

    @property
    def named_components(self) -> list[tuple[str, object]]:
        """The components, with what errors call them."""
        return []

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return how many first positions of a turn need not be read again.

        Args:
            shared: how many first ids it has in common with the turn before.
            prompt_tokens: T.
        """
        # The last token that is shared is read again, so that there is something to go on from.
        return max(shared - 1, 0)

    def start(self, prompt_ids: Tensor, prefill: Prefill, clock: PhaseClock, kept: int = 0) -> None:
        """Begin a request with the prompt [T] and what the target said from position ``kept`` on."""

    def draw_from(self, generator: Generator) -> None:
        """Take the only source of randomness until the next request; called before ``start``."""

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return a tree from ``root``, given the features committed since the last draft [n, F]."""
        return DraftTree.root_only(root, features.device)

    def learn(self, verdict: Verdict, tree: DraftTree, topk_ids: Tensor | None, clock: PhaseClock) -> None:
        """Take over the accepted path and the target's top ids after every node [N, harvest_topk]."""

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every id whether it may be proposed now [n] bool, on the device."""
        return torch.zeros(len(ids), dtype=torch.bool)


class Drafting(Autoregressive):
    """Drafts over what a strategy keeps active, or over the full vocabulary.

    Args:
        drafter: proposes the trees.
        head: the drafter's LM head over the active set.
        strategy: fills the active set; not asked when there is none.
        store: the active set; None for the full vocabulary.
    """

    def __init__(
        self,
        drafter: Drafter,
        head: GatherBackend,
        strategy: VocabularyBuilder,
        store: VocabularyStore | None,
    ) -> None:
        self._drafter, self._head, self._strategy, self._store = drafter, head, strategy, store
        self._over_everything = store is None
        self.branching = drafter.branching
        self.max_depth, self.max_nodes = drafter.max_depth, drafter.max_nodes
        if isinstance(drafter, ReadsLayers):
            self.feature_layers = drafter.feature_layers
        if isinstance(drafter, CopiesContext):
            drafter.propose_among(self.covered)
        self._keeps_active_set = bool(getattr(strategy, "keeps_active_set", False))
        if store is not None:
            self.harvest_topk, self.prompt_window = strategy.harvest_topk, strategy.prompt_window

    @property
    def output_head(self) -> OutputHead:
        """The LM head that the drafter drafts with."""
        return self._drafter.output_head

    @property
    def active_size(self) -> Tensor:
        """K, [] int64 on the device; V without an active set."""
        if self._over_everything or self._store is None:
            return torch.tensor(self._drafter.output_head.vocab_size)
        return self._store.active.count.clone()

    @property
    def rows_fetched(self) -> Tensor:
        """LM-head rows fetched since the request began, [] int64 on the device; 0 without an active set."""
        return super().rows_fetched if self._store is None else self._store.rows_fetched

    @property
    def unknown_ids(self) -> int:
        """How many ids of this request's strategy the drafter's LM head has no row for; a host read."""
        return super().unknown_ids if self._store is None else self._store.unknown_ids

    def memory_use(self) -> MemoryUse:
        """Return what the packed head, the active set and the full head take."""
        active = None if self._store is None else self._store.active
        return measure(self._drafter.output_head, self._head, self._store, active)

    @property
    def drafter(self) -> Drafter:
        """The drafter."""
        return self._drafter

    @property
    def named_components(self) -> list[tuple[str, object]]:
        """The components, with what errors call them."""
        return [("drafter", self._drafter), ("gather backend", self._head), ("strategy", self._strategy)]

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return how many first positions of a turn need not be read again, as in ``Autoregressive``.

        The drafter may remember fewer than are shared. A strategy that starts afresh is shown as many of the
        prompt's last positions as for any prompt.
        """
        if not isinstance(self._drafter, ResumableDrafter):
            return 0
        kept = min(super().reusable(shared, prompt_tokens), self._drafter.remembered)
        return kept if self._keeps_active_set else max(min(kept, prompt_tokens - self.prompt_window), 0)

    def start(self, prompt_ids: Tensor, prefill: Prefill, clock: PhaseClock, kept: int = 0) -> None:
        """Let the drafter read the prompt, and fill the active set: from nothing, or from the turn before."""
        if kept and isinstance(self._drafter, ResumableDrafter):
            self._drafter.resume(prompt_ids, prefill.features, kept)
        else:
            self._drafter.start(prompt_ids, prefill.features)
        clock.lap("prefill")
        if self._store is not None:
            if kept and self._keeps_active_set:
                self._admit(self._strategy.start(prompt_ids[kept:], prefill.topk_ids))
            else:
                self._store.reset()
                self._admit(self._strategy.start(prompt_ids, prefill.topk_ids))
            clock.lap("vocabulary")

    def draw_from(self, generator: Generator) -> None:
        """Hand on the source of randomness to a drafter that draws its trees."""
        if isinstance(self._drafter, DrawsTrees):
            self._drafter.draw_from(generator, self._active_ids)

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return the drafter's tree."""
        tree = self._drafter.draft(root, features, self._head, clock)
        clock.lap("draft_tree")
        return tree

    def learn(self, verdict: Verdict, tree: DraftTree, topk_ids: Tensor | None, clock: PhaseClock) -> None:
        """Tell the drafter what was accepted, and admit what the strategy learnt."""
        self._drafter.commit(verdict)
        clock.lap("draft_backbone")
        if self._store is not None:
            self._admit(self._strategy.observe(verdict, tree, topk_ids))
            clock.lap("vocabulary")

    def _admit(self, ids: Tensor) -> None:
        """Admit what the strategy returned.

        Raises:
            BrokenContract: it is no tensor of ids; or one of them is outside the vocabulary, where the
                admitter looks.
        """
        assert self._store is not None
        if not isinstance(ids, Tensor) or ids.dtype not in _ID_DTYPES:
            kind = f"a tensor of {ids.dtype}" if isinstance(ids, Tensor) else type(ids).__name__
            raise BrokenContract(self._strategy, f"returned {kind}; allowed: a tensor of token ids [n] int64")
        try:
            self._store.admit(ids)
        except OutsideVocabulary as error:
            raise BrokenContract(self._strategy, f"returned {error}") from error

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every id whether it is active [n] bool, on the device."""
        head = self._drafter.output_head
        if self._over_everything and head.reduced is None:
            return torch.ones(len(ids), dtype=torch.bool)
        on_device = torch.tensor(ids).to(head.weight.device, non_blocking=True)
        if not self._over_everything and self._store is not None:
            return self._store.contains(on_device)
        assert head.reduced is not None
        return head.reduced.knows(on_device)

    def _active_ids(self, count: int) -> Tensor:
        """Return the tokens of the first slots [count] int64, or of all rows without an active set."""
        head = self._drafter.output_head
        if self._over_everything or self._store is None:
            rows = torch.arange(count, device=head.weight.device)
        else:
            rows = self._store.active.token_of[:count].long()
        return rows if head.reduced is None else head.reduced.tokens(rows)
