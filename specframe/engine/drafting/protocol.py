"""What the engine asks of whatever drafts, and what is merely read of it for statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
from torch import Generator, Tensor

from specframe.contracts.called.drafter import CalledDrafter
from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, VocabularyBuilder
from specframe.contracts.report import DraftKind
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.model.target import Prefill
from specframe.vocabulary.memory import MemoryUse
from specframe.vocabulary.protocol import Membership


@attrs.frozen(slots=True, kw_only=True)
class Demands:
    """How large the draft trees may be, and what the target has to hand over.

    Attributes:
        branching: the largest k that the LM head is asked for.
        max_depth: the deepest level of a draft tree.
        max_nodes: the largest N of a draft tree, the root included.
        harvest_topk: how many of the target's top ids are wanted per position.
        harvest_log_probs: whether with their log-probabilities.
        prompt_window: for how many of the last prompt positions.
        feature_layers: layers of the target whose inputs are the features; with none, it is its output.
    """

    branching: int = 1
    max_depth: int = 0
    max_nodes: int = 1
    harvest_topk: int = 0
    harvest_log_probs: bool = False
    prompt_window: int = 0
    feature_layers: tuple[int, ...] = ()

    @classmethod
    def of(cls, drafter: Drafter, strategy: VocabularyBuilder) -> Demands:
        """Return what a drafter and a strategy ask for together."""
        learns = strategy.capacity is not None
        return cls(
            branching=drafter.branching,
            max_depth=drafter.max_depth,
            max_nodes=drafter.max_nodes,
            harvest_topk=max(drafter.harvest_topk, strategy.harvest_topk if learns else 0),
            harvest_log_probs=drafter.harvest_topk > 0 and drafter.harvest_log_probs,
            prompt_window=max(
                drafter.prompt_window if drafter.harvest_topk else 0,
                strategy.prompt_window if learns and strategy.harvest_topk else 0,
            ),
            feature_layers=drafter.feature_layers,
        )


class Figures(Membership, Protocol):
    """What is read of a draft for statistics."""

    @property
    def draft(self) -> DraftKind | None:
        """What the last draft came from; None where no measured costs decide."""
        ...

    @property
    def costs(self) -> str | None:
        """Name of the costs that decide over this request; None where none do."""
        ...

    @property
    def cost_error(self) -> float | None:
        """How far the costs were from what the last request's steps took; None where none decide."""
        ...

    def memory_use(self) -> MemoryUse | None:
        """Return what the vocabulary costs in memory; None where nothing is drafted."""
        ...


class Drafting(Protocol):
    """Drafts, and learns from the target.

    ``Autoregressive`` drafts nothing, ``ActiveDrafting`` drafts over an active set, and whatever wraps one of
    them hands on what it does not change.
    """

    @property
    def demands(self) -> Demands:
        """What the engine has to make room for and to hand over."""
        ...

    @property
    def figures(self) -> Figures:
        """What is read for statistics."""
        ...

    @property
    def drafter(self) -> CalledDrafter | None:
        """Who proposes; None where nothing is drafted."""
        ...

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return how many first positions of a turn need not be read again.

        Args:
            shared: how many first ids it has in common with the turn before.
            prompt_tokens: T.
        """
        ...

    def start(
        self, prompt_ids: Tensor, prefill: Prefill, generator: Generator, clock: PhaseClock, kept: int = 0
    ) -> None:
        """Begin a request.

        Args:
            prompt_ids: [T] int64.
            prefill: what the target said from position ``kept`` on.
            generator: the only source of randomness until the next request.
            clock: times the parts.
            kept: first positions that were read in the turn before.
        """
        ...

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return a tree from ``root``, given the features committed since the last draft [n, F]."""
        ...

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None, clock: PhaseClock) -> None:
        """Take over the accepted path and the target's top ids after every node [N, harvest_topk]."""
        ...

    def forget(self) -> None:
        """Forget what the drafter learnt from the target in earlier requests."""
        ...

    def listen(self, note: Callable[[Tensor], None]) -> None:
        """Have the hidden states [N, H] of every call of the drafter's LM head noted from now on."""
        ...

    def finish(self) -> None:
        """End a request that was generated to its end."""
        ...
