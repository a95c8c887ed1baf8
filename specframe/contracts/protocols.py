"""The per-step contracts of the four components: plain method calls, never a hook per step.

An author inherits the class, and overrides what differs: whatever has a value or a body here is optional.

What a method is given belongs to whoever calls it, and may not be changed. All randomness comes from the
generator that is passed in; global generators and settings of the program stay as they are.

Shapes: T prompt tokens, N tree nodes, K active tokens, V vocabulary, H hidden, F feature width,
P harvested prompt positions, k harvested ids per position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Generator, Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.budget import Budget
from specframe.contracts.clock import PhaseClock
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import Candidates, Screen
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.errors import UsageError


class VocabularyBuilder(ABC):
    """A vocabulary strategy: says which token ids the drafter may propose.

    The tensors of a tree and of a harvest hold until the call returns: whoever needs them later keeps a copy.

    Attributes:
        capacity: slots of the packed head; None drafts over the full vocabulary, and then neither method
            is ever called. With a screen it may be 0: there is no active set.
        screen: chooses rows for each hidden state, besides the active set; None for none.
        pinned_ids: ids that are active from the start of every request and never evicted [n] int64.
        harvest_topk: how many of the target's top ids per verified node it wants to see; 0 for none.
        prompt_window: for how many of the last prompt positions it wants them too; 0 for none.
        eviction: what leaves when the active set is full.
        takes_batches: it has ``observe_batch``: it keeps nothing of a request in itself, so that one object
            can learn from many requests at once.
        keeps_active_set: the next turn of a conversation finds the active set as the turn before left it,
            and ``start`` is given only what is new in the prompt.
    """

    capacity: int | None
    pinned_ids: Tensor
    screen: Screen | None = None
    harvest_topk: int = 0
    prompt_window: int = 0
    eviction: Eviction = "fifo"
    keeps_active_set: bool = False
    takes_batches: bool = False

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        """Begin a request and return the ids to admit [n]; by default none.

        A request's first token comes from the prefill, and is in no verdict.

        Args:
            prompt_ids: [T] int64.
            target_topk_ids: the target's top ids after each of the last P = min(T, prompt_window) prompt
                positions [P, k] int64; None when nothing was asked for.
        """
        return self.pinned_ids[:0]

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        """Learn from one target pass and return the ids to admit [n], in order of admission; by default none.

        Args:
            verdict: what was accepted and which token follows.
            tree: the verified tree, N nodes.
            target_topk_ids: the target's top ids after each node [N, k] int64; None when harvest_topk is 0.
        """
        return self.pinned_ids[:0]

    def observe_batch(self, node_ids: Tensor, emitted_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        """Learn from target passes of several requests and return the ids to admit [n]; by default none.

        It is for servers, and never waits for the device: nothing of what was accepted is on the host. For a
        single pass, with the root before what was emitted, it admits what ``observe`` does.

        Args:
            node_ids: tokens of all nodes of all draft trees [N] int64.
            emitted_ids: what was emitted [M] int64; -1 for none. A request's first token is among them.
            target_topk_ids: the target's top ids after each node [N, k] int64; None when harvest_topk is 0.

        Returns:
            The ids, -1 for none.
        """
        return self.pinned_ids[:0]


class Admitter(Protocol):
    """Decides which token gets which slot of an active set, writes it down, and has new rows fetched."""

    @property
    def admitted(self) -> Tensor:
        """How many slots were given out, and so rows fetched, since the request began, [] int64.

        A tensor of its own, which no later admission changes.
        """
        ...

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it keeps besides the active set."""
        ...

    def reset(self) -> None:
        """Begin a request: everything but the pinned ids becomes inactive."""
        ...

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] int64 active, on the active set's device and at least one.

        Duplicates, evictions and slots are those of ``specframe.vocabulary.admission.TorchAdmitter``.
        """
        ...


class GatherBackend(ABC):
    """Keeps the LM-head rows of the active set packed and computes logits over them.

    Attributes:
        capturable: a CUDA graph can hold its ``topk``: it reads nothing on the host, and all that differs
            between two calls of one shape is in tensors that stay where they are.
        scores_candidates: it has ``candidate_topk``, so that it goes with screens.
    """

    capturable: bool = False
    scores_candidates: bool = False

    @abstractmethod
    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach to the drafter's LM head and the store's active set; None means the full vocabulary."""

    @abstractmethod
    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy the head rows of ``ids`` [n] into ``slots`` [n]; may return before the copy is done."""

    @abstractmethod
    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens.

        The log-softmax is over the active set. With fewer than k active tokens the last columns are -inf
        and id -1. Equal log-probabilities come in any order. Both tensors may be the backend's own and hold
        until its next ``topk``.

        Args:
            hidden: [N, H].
            k: how many.
        """

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return what ``topk`` does over each state's candidates united with the active set.

        Every logit that counts is exact. The log-softmax is over that union, or by ``log_total`` where the
        candidates have one. The backend is bound to an active set, which may have no slots.

        Args:
            hidden: [N, H].
            k: how many.
            candidates: of each state, in rows of the LM head; some may be active.
        """
        raise NotImplementedError

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32."""

    def slot_logits(self, hidden: Tensor, capacity: int) -> Tensor:
        """Return the logits of all slots [N, capacity] float32, -inf in those that hold nothing.

        By default made of ``logits``; a backend whose ``logits`` costs a host read does better without.

        Args:
            hidden: [N, H].
            capacity: slots of the active set that it is bound to.
        """
        logits = self.logits(hidden)
        return torch.nn.functional.pad(logits, (0, capacity - logits.shape[1]), value=-torch.inf)

    def join(self) -> None:  # noqa: B027 - rows are there when fetch returns, unless a backend says otherwise
        """Let what is launched next wait for rows that are still being fetched; comes before a replay."""

    def admitter(self, active: ActiveSet, pinned: int, eviction: Eviction) -> Admitter | None:
        """Return an admitter of its own, such as one that stays on a device; None for the default one.

        The default one calls ``fetch`` with exactly the new rows; the host has to read how many.

        Args:
            active: the set that the backend is bound to; its pinned ids are in their slots already.
            pinned: how many of the first slots are pinned.
            eviction: what leaves when the active set is full.
        """
        return None

    def held(self) -> tuple[Tensor, ...]:
        """Return the tensors that it keeps besides the LM head and the active set, for reports of memory."""
        return ()


class Drafter(ABC):
    """Proposes a draft tree.

    It may learn from the target as strategies do: with ``harvest_topk`` it is told the target's top ids after
    every verified node, the rejected ones too.

    Attributes:
        output_head: the LM head it drafts with; its rows are what the gather backend packs. None for a
            drafter that calls no head: no strategy fills an active set then, and every token may be proposed.
        branching: the largest k it asks ``topk`` for; the active capacity must not be smaller.
        max_depth: the deepest level of its trees.
        max_nodes: the largest N of its trees, the root included.
        feature_layers: layers of the target whose inputs, side by side, are the features; the number of
            layers stands for the output of the last one, before the final norm. With none, the features are
            the target's last hidden states, after the final norm. Either way there is one for every committed
            position, and none for rejected nodes.
        harvest_topk: how many of the target's top ids per verified node ``learn`` wants to see; 0 for none.
        harvest_log_probs: it wants their log-probabilities too, for which all logits are computed.
        prompt_window: for how many of the last prompt positions ``learn_prompt`` wants them; 0 for none.
        can_pause: it has ``skip``: it may be left unasked while drafting does not pay.
        copies_context: it proposes tokens that no LM head has scored beside those of its head, out of
            ``propose_among``; whether its head drafts it decides itself, by ``draft_within``.
    """

    output_head: OutputHead | None = None
    branching: int = 1
    max_depth: int
    max_nodes: int
    feature_layers: tuple[int, ...] = ()
    harvest_topk: int = 0
    harvest_log_probs: bool = False
    prompt_window: int = 0
    can_pause: bool = False
    copies_context: bool = False

    @abstractmethod
    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request.

        Args:
            prompt_ids: [T] int64.
            features: the target's features at the prompt positions [T, F].
        """

    @abstractmethod
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``, the last emitted token.

        Args:
            root: token at node 0.
            features: the target's features at the positions committed since the last draft, in order
                [n, F]; on the first draft of a request that is the last prompt position [1, F].
            head: log-softmax and top-k over the active set.
            clock: laps ``draft_backbone``, ``draft_head`` and ``draft_tree``.
        """

    @abstractmethod
    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted path; drop everything else that was drafted."""

    def learn_prompt(self, token_ids: Tensor, top: TopTokens) -> None:  # noqa: B027 - optional
        """Learn what the target says about a prompt, where it asks for that; after ``start`` or ``resume``.

        Args:
            token_ids: the last P = min(T, prompt_window) tokens of the prompt [P] int64.
            top: the target's top ids after each of them [P, harvest_topk].
        """

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None) -> None:  # noqa: B027 - optional
        """Learn from one target pass; comes after ``commit``.

        Of passes without a draft it learns later, as of one chain of nodes that were all accepted.

        Args:
            verdict: what was accepted and which token follows.
            tree: as it was verified, N nodes: what was not worth its place is no longer in it.
            top: the target's top ids after each node [N, harvest_topk]; None when it asks for none.
        """

    def forget(self) -> None:  # noqa: B027 - optional
        """Forget whatever was learnt from the target, as if nothing had been generated yet.

        It comes before every request, except where the user keeps a drafter warm (``--warm``): what was
        learnt must not be cleared by ``start``, and nothing else may outlast a request.
        """

    def finish(self) -> None:  # noqa: B027 - optional
        """End a request, one that was given up too; whatever is to outlast the process can be stored here."""

    @property
    def remembered(self) -> int:
        """How many first positions ``resume`` can keep; each needs the token after it too.

        With 0, the default, every turn of a conversation is read from the start.
        """
        return 0

    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request whose first ``kept`` + 1 tokens are those of the request before.

        Args:
            prompt_ids: [T] int64.
            features: the target's features from position ``kept`` on [T - kept, F].
            kept: positions to keep, 1 to ``remembered``; less than T.
        """
        raise NotImplementedError

    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        """Take over n tokens as ``draft`` would, and draft nothing.

        A ``commit`` follows only where something else drafted a tree below the last of them.

        Args:
            token_ids: the tokens accepted at the last commit, if nothing came after it, and then every token
                that was emitted without a draft; the last of them was a root [n] int64.
            features: the target's features at the positions before each of them [n, F].
        """
        raise NotImplementedError

    def propose_among(self, are_active: Callable[[tuple[int, ...]], Tensor]) -> None:  # noqa: B027 - optional
        """Take what says which tokens may be proposed; comes once, before the first request.

        Args:
            are_active: returns for token ids whether each is active now [n] bool, on the device.
        """

    def draft_within(self, budget: Budget) -> None:  # noqa: B027 - optional
        """Take what says how much is worth drafting; comes before a request where costs were measured.

        A drafter that does not ask drafts what it always does; what is not worth its place is cut from its
        trees all the same.
        """

    def sample_from(  # noqa: B027 - a drafter that takes the most likely tokens draws nothing
        self, generator: Generator, active_ids: Callable[[int], Tensor]
    ) -> None:
        """Begin a request of sampled trees; called before ``start`` and ``resume``.

        Args:
            generator: the only source of randomness until the next request.
            active_ids: returns the tokens of the first K slots [K] int64, which are the columns of the gather
                backend's ``logits``.
        """


class Verifier(ABC):
    """Decides which drafted tokens the target would have emitted itself."""

    @abstractmethod
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the accepted path and the token that follows it.

        Args:
            tree: N nodes.
            target: what the target says after each node, with the request's logits processors applied.
            generator: the only source of randomness.
        """


def lm_head_of(drafter: Drafter) -> OutputHead:
    """Return the LM head that a drafter drafts with.

    Raises:
        UsageError: it has none.
    """
    if drafter.output_head is None:
        raise UsageError("the drafter has no LM head; allowed: one that drafts with a head, such as eagle")
    return drafter.output_head


def complaint(component: object, contract: type) -> str | None:
    """Return why an object does not fulfil a contract, as far as can be seen without calling it, or None."""
    if not isinstance(component, contract):
        return f"is a {type(component).__name__}; allowed: a class that inherits {contract.__name__}"
    needed = [name for name in contract.__annotations__ if not hasattr(contract, name)]
    lacking = [name for name in needed if not hasattr(component, name)]
    return f"lacks {lacking[0]}, which {contract.__name__} leaves open" if lacking else None
