"""A strategy run over a trace: the engine's own drafting, with the model replaced by what was recorded."""

from __future__ import annotations

from typing import Any, cast

import attrs
import pluggy
import torch
from torch import Tensor

from specframe.config import AUTOREGRESSIVE, RunConfig
from specframe.contracts.active_set import ActiveSet
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.options import build_options
from specframe.contracts.protocols import Drafter, GatherBackend, VocabularyBuilder
from specframe.contracts.report import StepStats
from specframe.contracts.row_map import RowMap
from specframe.contracts.screen import Screen
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import bind_drafting
from specframe.engine.draft_states import evenly, head_digest, kept_states
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.recorder import GenerationRecorder
from specframe.errors import UsageError, unknown_name
from specframe.model.language_model import load_output_head
from specframe.model.target import Prefill, Target
from specframe.registry.choice import setting_for
from specframe.registry.components import BuildContext
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.placement import find_dtype
from specframe.replay.stand_in import TracedTarget
from specframe.replay.trace import TracedPass, TracedRequest, TraceHeader
from specframe.vocabulary.screened import ScreenedVocabulary


class Bookkeeping(GatherBackend):
    """A gather backend that has no rows: the store keeps its books as with any other."""

    scores_candidates = True  # as far as it goes: a screen's candidates are noted, and none is scored

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach to nothing."""

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy nothing."""

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Compute nothing."""
        raise NotImplementedError("a replay drafts nothing")

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute nothing."""
        raise NotImplementedError("a replay drafts nothing")


@attrs.frozen(slots=True)
class KeptStates:
    """The ``StateSource`` of a trace: what screens were fitted to where it was recorded, from the cache.

    The trace's own hidden states are no source: what is fitted to them looks better than it is.

    Attributes:
        header: of the trace.
    """

    header: TraceHeader

    @property
    def key(self) -> str:
        """That of the live run."""
        return self.header.states_key or ""

    def sample(self, count: int) -> Tensor:
        """Return hidden states, as a live run would.

        Raises:
            UsageError: none are kept here.
        """
        states = kept_states(self.key, self.header.hidden_size)
        if states is None:
            raise UsageError(
                f"no hidden states of {self.header.drafter!r} for {self.header.model} are kept here to fit a "
                "screen to; a live run with the strategy and the trace's drafter makes them"
            )
        return evenly(states, count)


class TracedDrafter(Drafter):
    """Stands in for the drafter of a trace, whose trees are recorded.

    Args:
        header: of the trace.
        output_head: its LM head, for screens; None for one without columns, to keep books with.
    """

    output_head: OutputHead

    def __init__(self, header: TraceHeader, output_head: OutputHead | None = None) -> None:
        row_map, rows = RowMap(header.vocab_size), header.vocab_size
        if header.draft_ids is not None:
            row_map, rows = RowMap.of(torch.tensor(header.draft_ids), rows), len(header.draft_ids)
        self.output_head = output_head or OutputHead(torch.empty(rows, 0), row_map=row_map)
        self.branching = header.branching
        self.max_depth = header.max_depth
        self.max_nodes = header.max_nodes

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Do nothing."""

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft nothing."""
        raise NotImplementedError("a replay drafts nothing")

    def commit(self, verdict: Verdict) -> None:
        """Do nothing."""


@attrs.frozen(slots=True)
class ReplayedStep:
    """One target pass of a trace, as a strategy would have met it.

    Attributes:
        stats: as a live run reports them; the tree, what was accepted and what was emitted are the trace's.
        draftable: accepted tokens before the first that was not active.
        reachable: tokens of the text to come before the first that was not active, up to the depth of the
            drafter's trees.
        rows_evicted: tokens that lost their slot since the step before.
    """

    stats: StepStats
    draftable: int
    reachable: int
    rows_evicted: int


@attrs.frozen(slots=True)
class ReplayedRequest:
    """A request of a trace under one strategy.

    Attributes:
        id: name of the request.
        task: its task.
        steps: one per target pass.
    """

    id: str
    task: str
    steps: list[ReplayedStep]


@attrs.frozen(slots=True)
class ScreenReads:
    """What a head call reads because of a screen.

    Attributes:
        rows: what the screen itself reads for all states together, in rows of the LM head.
        candidates: rows that are read for each state.
    """

    rows: float
    candidates: int


class OfflineStrategy:
    """A strategy as the engine would bind it, to be run over the requests of a trace.

    Args:
        header: of the trace.
        name: of the strategy.
        options: its options, as typed or as values.
        manager: plugin manager; by default a fresh one with every installed plugin.

    Raises:
        UsageError: the strategy or an option is unknown, does not fit, or needs more than was recorded.

    Attributes:
        screen: what its head calls read of its screen; None for a strategy without one.
    """

    def __init__(
        self,
        header: TraceHeader,
        name: str,
        options: dict[str, Any],
        manager: pluggy.PluginManager | None = None,
    ) -> None:
        if name == AUTOREGRESSIVE:
            raise UsageError("autoregressive has no active vocabulary; allowed: vocabulary strategies")
        registry = build_registry(manager or create_plugin_manager())
        if name not in registry.names("vocabulary"):
            raise unknown_name("strategy", name, registry.names("vocabulary"))
        component = registry.get("vocabulary", name)
        config = RunConfig(
            model=header.model,
            strategy=name,
            drafter=header.drafter or "none",
            dtype=header.dtype,
        )
        reason = component.supports(setting_for(config, torch.device("cpu"), find_dtype(header.dtype)))
        if reason is not None:
            raise UsageError(f"strategy {name!r} cannot run here: {reason}")
        built_options = build_options(component.options, options, f"strategy {name!r}")
        target = TracedTarget(header)
        # The part of a target that a strategy needs; whatever else it asks for is an error that says so.
        context = BuildContext(
            target=cast(Target, target), required_ids=target.required_ids, data=registry.data
        )
        self._reach = header.max_depth
        strategy = component.factory(built_options, context)
        _check_recorded(header, name, strategy)
        screens = strategy.screen is not None and strategy.capacity is not None
        drafter = TracedDrafter(header, _head_of(header, name) if screens else None)
        drafting = bind_drafting(drafter, strategy, Bookkeeping, config, KeptStates(header))
        assert isinstance(drafting, ActiveDrafting)  # there are no costs to plan by
        self._drafting = drafting
        self._pinned = int(self._drafting.figures.active_size)
        self.screen = None if strategy.screen is None or not screens else _reads(strategy.screen, drafter)

    @torch.inference_mode()
    def replay(self, request: TracedRequest) -> ReplayedRequest:
        """Run over one request, from an empty active set.

        Raises:
            SpecframeError: the strategy failed; the message names it.
        """
        drafting, recorder, clock = self._drafting, GenerationRecorder(), PhaseClock()
        figures, k, window = drafting.figures, drafting.demands.harvest_topk, drafting.demands.prompt_window
        nothing = torch.empty(0, 0)
        text = [i for one in request.passes for i in one.verdict.emitted_ids[: one.emitted]]
        emitted, ahead = 0, list[Tensor]()
        clock.start()
        top = TopTokens(request.prompt_topk_ids[-window:, :k].long()) if k and window else None
        prefill = Prefill(nothing, nothing, top)
        drafting.start(request.prompt_ids.long(), prefill, torch.Generator(), clock)
        for one in request.passes:
            self._screen(one)
            upcoming = tuple(text[emitted : emitted + self._reach])
            ahead.append(figures.covered(upcoming) if upcoming else nothing)
            recorder.record(one.tree, one.verdict, one.verdict.emitted_ids[: one.emitted], figures)
            emitted += one.emitted
            drafting.learn(one.verdict, one.tree, TopTokens(one.topk_ids[:, :k]) if k else None, clock)
        return ReplayedRequest(request.id, request.task, self._steps(recorder.steps(), ahead))

    def _screen(self, one: TracedPass) -> None:
        """Screen what the drafter's LM head was asked before a pass."""
        vocabulary = self._drafting.figures.filled
        vocabulary.begin_draft()
        if isinstance(vocabulary, ScreenedVocabulary):
            for hidden in one.levels:
                vocabulary.head.candidates(hidden.to(vocabulary.output_head.dtype))

    def _steps(self, steps: list[StepStats], ahead: list[Tensor]) -> list[ReplayedStep]:
        replayed, size = [], self._pinned
        for stats, active in zip(steps, ahead, strict=True):
            upcoming = [*active.tolist(), False]
            reachable = upcoming.index(False)
            grown, size = stats.active_size - size, stats.active_size
            evicted = max(stats.rows_fetched - grown, 0)
            replayed.append(ReplayedStep(stats, min(reachable, stats.accepted), reachable, evicted))
        return replayed


def _reads(screen: Screen, drafter: TracedDrafter) -> ScreenReads:
    """Return what a head call reads of a bound screen, which is all that it keeps."""
    head = drafter.output_head
    held = sum(tensor.nbytes for tensor in screen.held())
    return ScreenReads(held / (head.hidden_size * head.dtype.itemsize), screen.width)


def _head_of(header: TraceHeader, name: str) -> OutputHead:
    """Return the LM head that a strategy screens, from disk.

    Raises:
        UsageError: the trace holds no hidden states, or the head is not that of the model.
    """
    if not header.hidden_states:
        raise UsageError(
            f"strategy {name!r} screens hidden states, and the trace holds none; record with --record-hidden"
        )
    if header.head_digest is None:
        raise UsageError(
            f"strategy {name!r} screens the LM head of drafter {header.drafter!r}, which is not that of "
            f"{header.model}, and a trace holds none; allowed: a live run"
        )
    head = load_output_head(header.model, find_dtype(header.dtype))
    if head_digest(head) != header.head_digest:
        raise UsageError(f"{header.model} has another LM head now than the trace was recorded with")
    return head


def _check_recorded(header: TraceHeader, name: str, strategy: VocabularyBuilder) -> None:
    """Raise ``UsageError`` if a strategy wants to see more than the trace holds."""
    if strategy.capacity is None:
        return
    if strategy.harvest_topk > header.topk:
        raise UsageError(
            f"strategy {name!r} wants the target's top {strategy.harvest_topk} ids, and the trace holds "
            f"{header.topk}; record with --record-topk {strategy.harvest_topk}"
        )
    if strategy.harvest_topk and strategy.prompt_window > header.prompt_window:
        raise UsageError(
            f"strategy {name!r} wants {strategy.prompt_window} prompt positions, and the trace holds "
            f"{header.prompt_window}; record with --record-window {strategy.prompt_window}"
        )
