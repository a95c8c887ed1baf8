"""What an engine with settings does beside vLLM: it drafts over active sets, and learns from each step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from vllm.logger import init_logger

from specframe.contracts.faults import ComponentError
from specframe.contracts.protocols import VocabularyBuilder
from specframe.errors import one_line
from specframe.vocabulary.store import VocabularyStore
from specframe_vllm.active_head import ActiveHead
from specframe_vllm.active_sets import ActiveSets, SharedSet
from specframe_vllm.figures import FigureCounter, Figures
from specframe_vllm.metrics import FigureFile, Written
from specframe_vllm.staging import to_device
from specframe_vllm.strategies import ReadPrompt, Strategies, TargetPasses

_log = init_logger("vllm.specframe")

# Of so many undrafted steps is known what they emitted when drafting goes on.
_UNDRAFTED_STEPS = 1024

Result = TypeVar("Result")


class ActiveDrafting:
    """Drafts over active sets.

    Args:
        head: what the proposer asks.
        sets: which active sets there are.
        strategies: say what becomes active.
        strategy: one of theirs; its demands are those of all.
        name: what the log calls the strategy where an error does not say whose it is.
        device: where it runs.
        prompt_window: for how many of the last prompt positions it wants to see the target's top ids.
        file: takes the figures; None where another rank reports.

    Attributes:
        seconds: that learning took on the host, and looking at what it learns from.
        steps: how many steps it learnt from.
        failure: what a component did wrong, after which it is asked no more; None while all is well.
    """

    def __init__(
        self,
        head: ActiveHead,
        sets: ActiveSets,
        strategies: Strategies,
        strategy: VocabularyBuilder,
        name: str,
        device: torch.device,
        prompt_window: int,
        file: FigureFile | None,
    ) -> None:
        self.head, self.sets, self._strategies = head, sets, strategies
        self._shared = isinstance(sets, SharedSet)
        # Where every slot is pinned nothing that a strategy says changes anything.
        self._learns = not sets.stores[0].active.fixed
        self._harvest_topk = strategy.harvest_topk if self._learns else 0
        self._prompt_window = prompt_window if self._harvest_topk else 0
        # A strategy that keeps nothing of a request can be told later, and of several steps at once.
        self._can_wait, self._waits = strategy.takes_batches, False
        self._undrafted: deque[tuple[list[str], Tensor]] = deque(maxlen=_UNDRAFTED_STEPS)
        self._name, self._device = name, device
        self._counter = FigureCounter(device, head.ranks, head.screened)
        self._file, self._written = file, Figures()
        self._begun: set[str] = set()
        self.seconds, self.steps = 0.0, 0
        self.failure: str | None = None

    @property
    def figures(self) -> Figures | None:
        """What was counted; None where the device has not brought it to the host yet."""
        return self._counter.latest()

    @property
    def running(self) -> int:
        """How many requests have begun and are not over."""
        return len(self._begun)

    @property
    def harvest_topk(self) -> int:
        """How many of the target's top ids per node it wants to see in this step; 0 for none."""
        return 0 if self._waits else self._harvest_topk

    @property
    def prompt_window(self) -> int:
        """For how many of the last prompt positions."""
        return 0 if self._waits else self._prompt_window

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count what is done inside as time for learning."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    def begin_step(self, drafts: int) -> None:
        """Take how many tokens the step that begins drafts; where it drafts none, most of learning waits."""
        self._waits = drafts == 0 and self._can_wait

    def begun(self, request: str) -> bool:
        """Return whether a request's prompt has been read to its end."""
        return request in self._begun

    def forget(self, request: str) -> None:
        """Let go of a request: it is over, or starts again later."""
        self._begun.discard(request)
        self._strategies.end(request)
        self.sets.end(request)

    def learn(self, requests: list[str], prompts: list[ReadPrompt], passes: TargetPasses | None) -> None:
        """Take in a step, before the next draft.

        Args:
            requests: that are drafted for next, in the order of their rows.
            prompts: of those that start.
            passes: of the others; None where there are none.
        """
        if not self._waits and self._undrafted:
            self._guarded(self._catch_up)
        if passes is not None:
            if max(passes.nodes) > 1:
                self.attempt(partial(self._count, passes))
            if self._waits:
                self._undrafted.append((passes.requests, passes.emitted_ids))
            else:
                self._guarded(lambda: self._observe(passes))
        if len(prompts) > self.sets.room:
            # A request that waits for its next turn starts again with what is known of it then.
            for request in self._begun.difference(requests):
                self.forget(request)
        for prompt in prompts:
            self._begun.add(prompt.request)
            store = self.sets.begin(prompt.request)
            self._guarded(partial(self._start, store, prompt))
        if not self._waits:
            self.sets.draft_for(requests)
        self.steps += 1
        self._report()

    def attempt(self, learning: Callable[[], Result]) -> Result | None:
        """Return what a part of learning returns; where it fails nothing is learnt any more.

        Drafts go on over what is active. With several ranks the failure is passed on: the others would wait
        for one that does less.
        """
        try:
            return learning()
        except Exception as error:  # a stranger's strategy may raise anything
            if self.head.ranks > 1:
                raise
            known = isinstance(error, ComponentError)
            self.failure = str(error) if known else f"{self._name} failed: {one_line(error)}"
            self._learns, self._harvest_topk, self._prompt_window = False, 0, 0
            _log.error("specframe: %s; the strategy is asked no more", self.failure)
            return None

    def _guarded(self, learning: Callable[[], None]) -> None:
        if self._learns:
            self.attempt(learning)

    def _start(self, store: VocabularyStore, prompt: ReadPrompt) -> None:
        self._admit(store, self._strategies.start(prompt))

    def _observe(self, passes: TargetPasses) -> None:
        if self._shared:
            self._admit(self.sets.stores[0], self._strategies.observe_together(passes))
            return
        for request, ids in zip(passes.requests, self._strategies.observe(passes), strict=True):
            self._admit(self.sets.of(request), ids)

    def _catch_up(self) -> None:
        """Admit what undrafted steps emitted, for the requests that are still there."""
        said: dict[str, list[Tensor]] = {}
        while self._undrafted:
            requests, emitted_ids = self._undrafted.popleft()
            for request, ids in zip(requests, emitted_ids, strict=True):
                if request in self._begun:
                    said.setdefault(request, []).append(ids)
        if not said:
            return
        rows = [torch.cat(ids) for ids in said.values()]
        self._observe(
            TargetPasses(
                requests=list(said),
                nodes=[0] * len(rows),
                node_ids=rows[0][:0],
                emitted_ids=pad_sequence(rows, batch_first=True, padding_value=-1),
                topk_ids=None,
            )
        )

    def _admit(self, store: VocabularyStore, ids: Tensor) -> None:
        # An admitter on the host takes nothing but ids, and there a mask costs no wait. It refuses an id
        # outside the vocabulary, which one on the device leaves out.
        if not store.stays_on_device:
            ids = ids[ids != -1]
        store.admit(ids)
        store.head.join()  # a replay of a captured draft step waits for no copy by itself

    def _count(self, passes: TargetPasses) -> None:
        nodes = to_device(torch.tensor(passes.nodes), self._device)
        stores = self.sets.stores if self._shared else [self.sets.of(one) for one in passes.requests]
        self._counter.count(stores, nodes, passes.emitted_ids)

    def _report(self) -> None:
        """Write what is known down, unless nothing new is."""
        figures = None if self._file is None else self._counter.latest()
        if self._file is None or figures is None or figures == self._written:
            return
        passes = figures.passes - self._written.passes
        active = (figures.active - self._written.active) / max(passes, 1)
        self._file.write(Written(figures, active, self.seconds + self.head.seconds))
        self._written = figures
