"""Measures what the parts of a step cost here: a few passes and drafts over made-up tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from time import perf_counter

import torch
from torch import Tensor

from specframe.contracts.called.drafter import CalledDrafter
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.costs.curve import Curve
from specframe.costs.model import CostModel, Setup
from specframe.engine.drafting.branches import Branches
from specframe.engine.tree_check import misshapen
from specframe.model.target import Target
from specframe.ops.machine import Machine
from specframe.vocabulary.every_token import EveryToken
from specframe.vocabulary.protocol import DraftVocabulary
from specframe.vocabulary.store import VocabularyStore
from specframe.vocabulary.whole import WholeVocabulary

# Seconds that all of it may take; what comes late is measured once, or follows from what was.
MOST_SECONDS = 2.0
# Numbers of nodes to measure, the most telling first.
_NODES = (1, 8, 4, 16, 2, 32, 6, 12, 3, 24)
_ROWS = (512, 2048, 8192)
# Tokens of context, and how many more to read: the most that there is time for.
_SHORT, _MORE_TOKENS = 32, (192, 96)
# A token of a prefill against one more node of a draft tree: without the LM head, and in larger products.
_OF_A_NODE = 0.6
_RUNS = 4
_LEVELS = 2
# Positions that all of it takes.
POSITIONS = _SHORT + max(_MORE_TOKENS) + max(_NODES)
# A made-up text repeats these tokens, so that there is a path of the context to draft.
_PATTERN = torch.arange(16) * 31


class FixedBudget:
    """The ``Budget`` of a measurement: so many levels of so many nodes, whatever they are worth.

    Args:
        levels: below the first.
        width: nodes of each.
        head: whether the head drafts.
    """

    def __init__(self, levels: int, width: int, *, head: bool = True) -> None:
        self._left, self._width, self._head = levels, width, head
        self.drafted = 0

    def wants_head(self, path: Sequence[float] = ()) -> bool:
        """Return whether the head drafts."""
        return self._head

    def beams(self, log_probs: Sequence[float]) -> int:
        """Return the width of the next level, as long as one is left."""
        if not self._left:
            return 0
        self._left -= 1
        self.drafted += 1
        return min(self._width, len(log_probs))


class _Deadline:
    """Seconds that are left of a measurement."""

    def __init__(self, seconds: float) -> None:
        self._end = perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds left; negative when it is over."""
        return self._end - perf_counter()


@torch.inference_mode()
def measure_costs(
    target: Target, drafter: Drafter, make_backend: Callable[[], GatherBackend], setup: Setup
) -> CostModel:
    """Return the costs of a step with this target and drafter; it takes about two seconds at most.

    Nothing of it stays with the target or the drafter beyond the next request's beginning.

    Args:
        target: its passes are measured.
        drafter: its drafts are measured.
        make_backend: returns a gather backend to measure.
        setup: what is measured.
    """
    with target.request_lock.enter():
        deadline = _Deadline(MOST_SECONDS)
        ids = _PATTERN[torch.arange(_SHORT) % len(_PATTERN)].to(target.device) % target.vocab_size
        target.begin(POSITIONS, feature_layers=drafter.feature_layers)
        features = target.prefill(ids).features
        head = _head_of(drafter, make_backend, target, _Deadline(MOST_SECONDS * 0.2))
        drafts = _Drafts(drafter, head.vocabulary, ids, features)
        pass_s = _passes(target, drafter.max_nodes, drafts, _Deadline(deadline.left * 0.6))
        drafts.complete()
        context_s = _context(target, pass_s, deadline)
        return CostModel(
            setup=setup,
            machine=Machine.of(target.device),
            pass_s=pass_s,
            context=_SHORT,
            context_s=context_s,
            draft_s=max(drafts.first_s - head.one(_ROWS[0]), 0.0),
            level_s=head.without(drafts.level_s),
            head_s=head.one,
            wide_head_s=head.wide,
            width=head.width,
            whole_s=head.whole,
            skip_s=drafts.skip_s,
        )


def _passes(target: Target, most: int, drafts: _Drafts, deadline: _Deadline) -> Curve:
    """Return the seconds of a target pass by nodes: at least of 1 and 8, of others as time is left.

    Passes and drafts come in turn, as they do in use: each finds the caches as the other left them.
    """
    sizes = [nodes for nodes in _NODES if nodes <= max(most, 8)]
    found: dict[int, list[float]] = {}
    _timed_pass(target, 1)
    for run in range(_RUNS):
        for nodes in sizes:
            # Of a number that was never tried: a pass of fewer nodes says how long it may take.
            known = min(found.get(nodes) or [min(found.get(8, [0.0])) * max(nodes / 8, 1)])
            if (run or len(found) >= 2) and known > deadline.left:
                continue
            found.setdefault(nodes, []).append(_timed_pass(target, nodes))
            drafts.measure_next()
    return Curve.of({nodes: min(seconds) for nodes, seconds in found.items()})


def _timed_pass(target: Target, nodes: int) -> float:
    """Return the seconds of one target pass over a chain of nodes, of which nothing is kept."""
    index = torch.arange(nodes, device=target.device)
    tree = DraftTree(
        (index + 1) % target.vocab_size, index - 1, index, torch.zeros(nodes, device=target.device)
    )
    spent = _seconds(lambda: target.tree_pass(tree), target.device)
    target.commit(())
    return spent


def _context(target: Target, pass_s: Curve, deadline: _Deadline) -> Curve:
    """Return what a token of context adds to a pass by nodes, as far as time is left to read more of it."""
    sizes = [1, 8]
    token = _OF_A_NODE / 8 * (pass_s(16) - pass_s(8))
    known = 2 * sum(pass_s(nodes) for nodes in sizes) + pass_s(8)
    more = next((tokens for tokens in _MORE_TOKENS if known + tokens * token < deadline.left), 0)
    if not more:
        return Curve.of({1: 0.0})
    target.prefill(torch.arange(more, device=target.device) * 37 % target.vocab_size)
    added = {}
    for nodes in sizes:
        spent = min(_timed_pass(target, nodes) for _ in range(_RUNS if deadline.left > 0 else 2))
        added[nodes] = max(spent - pass_s(nodes), 0.0) / more
    return Curve.of(added)


@torch.inference_mode()
def measure_head(head: GatherBackend, hidden_size: int, k: int, like: Tensor) -> tuple[float, float]:
    """Return the seconds of a head call for one hidden state, and for k of them.

    Args:
        head: over what drafts go over.
        hidden_size: H.
        k: the drafter's branching.
        like: has the device and dtype of hidden states.
    """
    source = torch.Generator().manual_seed(0)
    hidden = torch.randn(k, hidden_size, generator=source).to(like)

    def timed(states: Tensor) -> float:
        return min(_seconds(lambda: head.topk(states, k), like.device) for _ in range(_RUNS))

    return timed(hidden[:1]), timed(hidden)


class _NoHead:
    """What no LM head costs, in the place of ``_Head``."""

    width = 1
    one = wide = whole = Curve.of({1: 0.0})

    def __init__(self, target: Target) -> None:
        self.vocabulary = EveryToken(target.vocab_size, target.device)

    def without(self, level_s: Curve) -> Curve:
        """Return the seconds of a level, which has no head call."""
        return level_s


class _Head:
    """What the drafter's LM head costs over an active set and over everything.

    Attributes:
        vocabulary: an active set of as many tokens as are usual.
        width: hidden states of the widest level.
        one: seconds for one hidden state by active rows.
        wide: for ``width`` of them.
        whole: over all rows by hidden states.
    """

    def __init__(
        self,
        head: OutputHead,
        drafter: Drafter,
        make_backend: Callable[[], GatherBackend],
        deadline: _Deadline,
    ) -> None:
        device, self.width = head.device, drafter.branching
        everything = head.row_map.tokens(torch.arange(head.vocab_size, device=device))
        capacity = min(_ROWS[-1], head.vocab_size)
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        self.vocabulary = VocabularyStore(head, make_backend(), capacity=capacity, pinned_ids=nothing)
        source = torch.Generator().manual_seed(0)
        hidden = torch.randn(self.width, head.hidden_size, generator=source).to(device, head.dtype)

        def timed(backend: GatherBackend, states: int) -> float:
            def call() -> object:
                return backend.topk(hidden[:states], drafter.branching)

            call()
            spent = [_seconds(call, device)]
            while len(spent) < _RUNS and deadline.left > 0:
                spent.append(_seconds(call, device))
            return min(spent)

        one, wide = {}, {}
        for rows in sorted({min(rows, capacity) for rows in _ROWS}, reverse=True):
            self.vocabulary.reset()
            self.vocabulary.admit(everything[:rows])
            one[rows], wide[rows] = (timed(self.vocabulary.head, states) for states in (1, self.width))
        self.one, self.wide = Curve.of(one), Curve.of(wide)  # the fewest rows came last and are active now
        backend = WholeVocabulary(head, make_backend()).head
        self.whole = Curve.of({states: timed(backend, states) for states in (1, self.width)})

    def without(self, level_s: Curve) -> Curve:
        """Return the seconds of a level without its head call, which went over the usual rows."""
        calls = {1: self.one(_ROWS[0]), self.width: self.wide(_ROWS[0])}
        return Curve.of({nodes: max(level_s(nodes) - calls[nodes], 0.0) for nodes in level_s.sizes})


def _head_of(
    drafter: Drafter, make_backend: Callable[[], GatherBackend], target: Target, deadline: _Deadline
) -> _Head | _NoHead:
    """Return what the drafter's LM head costs."""
    head = drafter.output_head
    return _NoHead(target) if head is None else _Head(head, drafter, make_backend, deadline)


class _Drafts:
    """What drafts of one level, of more, and none but the path of the context take.

    Args:
        drafter: drafts.
        vocabulary: what it drafts over.
        ids: prompt, which repeats itself [T].
        features: of the prompt [T, F].
    """

    def __init__(self, drafter: Drafter, vocabulary: DraftVocabulary, ids: Tensor, features: Tensor) -> None:
        self._drafter, self._head, self._features = CalledDrafter.of(drafter), vocabulary.head, features
        self._nodes = torch.arange(drafter.max_nodes, device=features.device)
        self._text = cycle(ids[: len(_PATTERN)].tolist())
        self._root, self._next = next(self._text), next(self._text)
        drafter.propose_among(vocabulary.covered)
        drafter.sample_from(torch.Generator(device=features.device), vocabulary.active_ids)
        drafter.start(ids, features)
        self._has_head = drafter.output_head is not None
        widths = sorted({1, drafter.branching}) if self._has_head else []
        # Levels below the first and their width; None for no head.
        self._kinds: list[tuple[int, int] | None] = [(0, 0), *((_LEVELS, width) for width in widths)]
        if drafter.copies_context:
            self._kinds.append(None)
        self._found: dict[tuple[int, int] | None, list[float]] = {kind: [] for kind in self._kinds}
        self._levels: dict[int, int] = {}
        self._turns = cycle(self._kinds)
        for kind in self._kinds:
            self._measure(kind)
            self._found[kind].clear()  # what is done for the first time takes longer

    def measure_next(self) -> None:
        """Measure the kind of draft whose turn it is."""
        self._measure(next(self._turns))

    def complete(self) -> None:
        """Measure what has not been measured twice."""
        for kind, found in self._found.items():
            while len(found) < 2:
                self._measure(kind)

    @property
    def first_s(self) -> float:
        """Seconds of a draft of one level."""
        return min(self._found[0, 0])

    @property
    def level_s(self) -> Curve:
        """Seconds of a further level by its nodes."""
        if not self._has_head:
            return Curve.of({1: 0.0})
        return Curve.of(
            {
                width: max(min(self._found[_LEVELS, width]) - self.first_s, 0.0) / max(drafted, 1)
                for width, drafted in self._levels.items()
            }
        )

    @property
    def skip_s(self) -> float:
        """Seconds of a draft that no head makes; 0 where none does."""
        if not self._has_head:
            return self.first_s
        return min(self._found[None]) if None in self._found else 0.0

    def _measure(self, kind: tuple[int, int] | None) -> None:
        levels, width = kind or (0, 0)
        budget, clock = FixedBudget(levels, width, head=kind is not None), PhaseClock()
        self._drafter.draft_within(budget)
        clock.start()
        spent = _seconds(lambda: self._draft(clock), self._features.device)
        self._drafter.commit(Verdict((0,), (), self._next, path_ends_at_leaf=False))
        self._root, self._next = self._next, next(self._text)
        self._found[kind].append(spent)
        if levels:
            self._levels[width] = budget.drafted

    def _draft(self, clock: PhaseClock) -> None:
        """Draft, and take half of the nodes, as a budget does that looks at all of them."""
        tree = self._drafter.draft(self._root, self._features[-1:], self._head, clock)
        complaint = misshapen(tree, self._nodes)
        if complaint is not None:
            raise self._drafter.fault(f"drafted a malformed tree: {complaint}")
        branches = Branches.of(tree)
        if branches is not None:
            branches.chosen(range((len(branches) + 1) // 2)).cut(tree)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a call, and of the work that it leaves to the device."""
    _finish(device)
    began = perf_counter()
    call()
    _finish(device)
    return perf_counter() - began


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
