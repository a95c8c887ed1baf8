"""A drafter as the engine calls it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Generator, Tensor

from specframe.contracts.budget import Budget
from specframe.contracts.called.members import check_members, is_own, read, read_flag, read_number
from specframe.contracts.clock import PhaseClock
from specframe.contracts.faults import ComponentError, Owner
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict

_NUMBERS = ("branching", "max_depth", "max_nodes", "harvest_topk", "prompt_window")
_FLAGS = ("harvest_log_probs", "can_pause", "copies_context")
_METHODS = (
    "start draft commit learn_prompt learn forget finish resume skip propose_among draft_within sample_from"
)


class SeenHead(GatherBackend, ABC):
    """What a drafter sees as its LM head; it knows what was answered wrongly."""

    @abstractmethod
    def fault(self) -> ComponentError | None:
        """Return what the gather backend did wrong since the draft began, or None."""


class CalledDrafter(Drafter):
    """Calls a drafter, whose declarations were read when it was wrapped.

    A draft that went wrong because the LM head answered wrongly is no fault of the drafter.

    Args:
        drafter: is called.
        owner: whose it is.

    Raises:
        ComponentError: it cannot be called, or something that it declares is not allowed.
    """

    def __init__(self, drafter: Drafter, owner: Owner) -> None:
        check_members(owner, drafter, Drafter)
        self.component, self.owner = drafter, owner
        for name in _NUMBERS:
            setattr(self, name, read_number(owner, drafter, name, Drafter))
        for name in _FLAGS:
            setattr(self, name, read_flag(owner, drafter, name, Drafter))
        self.output_head = read(owner, drafter, "output_head", Drafter)
        if self.output_head is not None and not isinstance(self.output_head, OutputHead):
            kind = type(self.output_head).__name__
            raise owner.fault(f"has a {kind} as its output_head; allowed: an OutputHead, or None")
        self.feature_layers = read(owner, drafter, "feature_layers", Drafter)
        self._in = {name: owner.blame(f"{name}()") for name in _METHODS.split()}
        self._head: GatherBackend | None = None

    @classmethod
    def of(cls, drafter: Drafter) -> CalledDrafter:
        """Return a drafter as it is called, whether it is wrapped already or not."""
        if isinstance(drafter, cls):
            return drafter
        return cls(drafter, Owner("drafter", type(drafter).__name__))

    def fault(self, what: str) -> ComponentError:
        """Return the error for the last draft, which is its LM head's where that answered wrongly."""
        of_head = self._head.fault() if isinstance(self._head, SeenHead) else None
        return of_head or self.owner.fault(what)

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request."""
        with self._in["start"]:
            self.component.start(prompt_ids, features)

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``."""
        self._head = head
        try:
            with self._in["draft"]:
                return self.component.draft(root, features, head, clock)
        except ComponentError as error:
            if error.owner != self.owner:
                raise
            raise self.fault(error.what) from error.__cause__

    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted path."""
        with self._in["commit"]:
            self.component.commit(verdict)

    def learn_prompt(self, token_ids: Tensor, top: TopTokens) -> None:
        """Learn what the target says about a prompt."""
        with self._in["learn_prompt"]:
            self.component.learn_prompt(token_ids, top)

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None) -> None:
        """Learn from one target pass."""
        with self._in["learn"]:
            self.component.learn(verdict, tree, top)

    def forget(self) -> None:
        """Forget whatever was learnt from the target."""
        with self._in["forget"]:
            self.component.forget()

    def finish(self) -> None:
        """End a request."""
        with self._in["finish"]:
            self.component.finish()

    @property
    def remembered(self) -> int:
        """How many first positions ``resume`` can keep."""
        remembered = read_number(self.owner, self.component, "remembered", Drafter)
        if remembered and not is_own(self.component, "resume", Drafter):
            raise self.owner.fault(
                f"remembers {remembered} positions and lacks resume(); allowed: both or neither"
            )
        return remembered

    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request whose first tokens are those of the request before."""
        with self._in["resume"]:
            self.component.resume(prompt_ids, features, kept)

    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        """Take over tokens as ``draft`` would, and draft nothing."""
        with self._in["skip"]:
            self.component.skip(token_ids, features)

    def propose_among(self, are_active: Callable[[tuple[int, ...]], Tensor]) -> None:
        """Take what says which tokens may be proposed."""
        with self._in["propose_among"]:
            self.component.propose_among(are_active)

    def draft_within(self, budget: Budget) -> None:
        """Take what says how much is worth drafting."""
        with self._in["draft_within"]:
            self.component.draft_within(budget)

    def sample_from(self, generator: Generator, active_ids: Callable[[int], Tensor]) -> None:
        """Begin a request of sampled trees."""
        with self._in["sample_from"]:
            self.component.sample_from(generator, active_ids)
