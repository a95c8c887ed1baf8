"""Measures what the parts of a step cost here: a few passes and drafts over made-up tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from time import perf_counter

import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.faults import blaming
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.costs.curve import Curve
from specframe.costs.model import CostModel, Setup
from specframe.model.target import Target
from specframe.ops.machine import Machine
from specframe.vocabulary.store import VocabularyStore
from specframe.vocabulary.whole import WholeVocabulary

# Seconds that all of it may take; what comes late is measured once, or follows from what was.
MOST_SECONDS = 2.0
# Numbers of nodes to measure, the most telling first.
_NODES = (1, 8, 4, 16, 2, 32, 6, 12, 3, 24)
_ROWS = (512, 2048, 8192)
_SHORT, _LONG = 32, 288
_RUNS = 4
_LEVELS = 2


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
        ids = torch.arange(_SHORT, device=target.device) * 31 % target.vocab_size
        target.begin(_LONG + _NODES[-1] + max(_NODES), feature_layers=drafter.feature_layers)
        features = target.prefill(ids).features
        pass_s = _passes(target, drafter.max_nodes, _Deadline(MOST_SECONDS * 0.6))
        head = _Head(drafter, make_backend, deadline)
        first, level_s, skip_s = _drafts(drafter, head.store, ids, features, deadline)
        context_s = _context(target, pass_s, deadline)
        return CostModel(
            setup=setup,
            machine=Machine.of(target.device),
            pass_s=pass_s,
            context=_SHORT,
            context_s=context_s,
            draft_s=max(first - head.one(_ROWS[0]), 0.0),
            level_s=head.without(level_s),
            head_s=head.one,
            wide_head_s=head.wide,
            width=head.width,
            whole_s=head.whole,
            skip_s=skip_s,
        )


def _passes(target: Target, most: int, deadline: _Deadline) -> Curve:
    """Return the seconds of a target pass by nodes: at least of 1 and 8, of others as time is left."""
    sizes = [nodes for nodes in _NODES if nodes <= max(most, 8)]
    found: dict[int, list[float]] = {}
    _timed_pass(target, 1)
    for run in range(_RUNS):
        for nodes in sizes:
            known = found.get(nodes) or found.get(8) or [0.0]
            if (run or len(found) >= 2) and min(known) > deadline.left:
                continue
            found.setdefault(nodes, []).append(_timed_pass(target, nodes))
    return Curve.of({nodes: min(seconds) for nodes, seconds in found.items()})


def _timed_pass(target: Target, nodes: int) -> float:
    """Return the seconds of one target pass over a chain of nodes, of which nothing is kept."""
    index = torch.arange(nodes, device=target.device)
    tree = DraftTree(index + 1, index - 1, index, torch.zeros(nodes, device=target.device))
    spent = _seconds(lambda: target.tree_pass(tree), target.device)
    target.commit(())
    return spent


def _context(target: Target, pass_s: Curve, deadline: _Deadline) -> Curve:
    """Return what a token of context adds to a pass by nodes, as far as time is left to read more of it."""
    sizes = [1, 8]
    prefill = (_LONG - _SHORT) / 8 * (pass_s(16) - pass_s(8)) + pass_s(8)
    if deadline.left < prefill + 3 * sum(pass_s(nodes) for nodes in sizes):
        return Curve.of({1: 0.0})
    target.prefill(torch.arange(_LONG - _SHORT, device=target.device) * 37 % target.vocab_size)
    added = {}
    for nodes in sizes:
        spent = min(_timed_pass(target, nodes) for _ in range(3))
        added[nodes] = max(spent - pass_s(nodes), 0.0) / (_LONG - _SHORT)
    return Curve.of(added)


class _Head:
    """What the drafter's LM head costs over an active set and over everything.

    Attributes:
        store: an active set of as many tokens as are usual.
        width: hidden states of the widest level.
        one: seconds for one hidden state by active rows.
        wide: for ``width`` of them.
        whole: over all rows by hidden states.
    """

    def __init__(
        self, drafter: Drafter, make_backend: Callable[[], GatherBackend], deadline: _Deadline
    ) -> None:
        head = drafter.output_head
        device, self.width = head.device, drafter.branching
        everything = head.row_map.tokens(torch.arange(head.vocab_size, device=device))
        capacity = min(_ROWS[-1], head.vocab_size)
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        self.store = VocabularyStore(head, make_backend(), capacity=capacity, pinned_ids=nothing)
        hidden = torch.randn(self.width, head.hidden_size, device=device).to(head.dtype)

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
            self.store.reset()
            self.store.admit(everything[:rows])
            one[rows], wide[rows] = (timed(self.store.head, states) for states in (1, self.width))
        self.one, self.wide = Curve.of(one), Curve.of(wide)  # the fewest rows came last and are active now
        backend = WholeVocabulary(head, make_backend()).head
        self.whole = Curve.of({states: timed(backend, states) for states in (1, self.width)})

    def without(self, level_s: Curve) -> Curve:
        """Return the seconds of a level without its head call, which went over the usual rows."""
        calls = {1: self.one(_ROWS[0]), self.width: self.wide(_ROWS[0])}
        return Curve.of({nodes: max(level_s(nodes) - calls[nodes], 0.0) for nodes in level_s.sizes})


def _drafts(
    drafter: Drafter, store: VocabularyStore, ids: Tensor, features: Tensor, deadline: _Deadline
) -> tuple[float, Curve, float]:
    """Return the seconds of a draft of one level, of each further level by its nodes, and of none."""
    with blaming("drafter"):
        drafter.propose_among(store.covered)
        drafter.sample_from(torch.Generator(device=features.device), store.active_ids)
        drafter.start(ids, features)
        roots = count(1)

        def timed(levels: int, width: int, *, head: bool = True) -> tuple[float, int]:
            spent: list[float] = []
            drafted = 0
            while len(spent) < 2 or (len(spent) <= _RUNS and deadline.left > 0):
                budget, root, clock = FixedBudget(levels, width, head=head), next(roots), PhaseClock()
                drafter.draft_within(budget)
                clock.start()
                spent.append(
                    _seconds(
                        lambda: drafter.draft(root, features[-1:], store.head, clock),  # noqa: B023 - called at once
                        features.device,
                    )
                )
                drafter.commit(Verdict((0,), (), root + 1, path_ends_at_leaf=False))
                drafted = budget.drafted
            return min(spent[1:]), drafted

        first, _ = timed(0, 0)
        level_s = {}
        for width in sorted({1, drafter.branching}):
            deeper, drafted = timed(_LEVELS, width)
            level_s[width] = max(deeper - first, 0.0) / max(drafted, 1)
        skip_s = timed(0, 0, head=False)[0] if drafter.copies_context else 0.0
    return first, Curve.of(level_s), skip_s


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
