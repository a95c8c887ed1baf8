"""Recording a trace: what the loop hands to its drafting is kept on the way, with no read from the device."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import attrs
from torch import Generator, Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.report import Arm, GenerationReport, StepStats
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.drafting import Autoregressive
from specframe.engine.engine import Engine
from specframe.engine.memory import MemoryUse
from specframe.errors import UsageError
from specframe.model.target import Prefill
from specframe.replay.trace import TracedPass, TracedRequest, TraceHeader, from_passes
from specframe.replay.trace_file import TraceWriter


class TraceTap(Autoregressive):
    """Stands before an engine's drafting, passes everything on, and keeps what goes by.

    Args:
        inner: what drafts; it behaves as without the tap.
        topk: how many of the target's top ids to keep per position; at least as many as ``inner`` wants.
        prompt_window: for how many of the last prompt positions; likewise.
    """

    def __init__(self, inner: Autoregressive, topk: int, prompt_window: int) -> None:
        self.inner = inner
        self.branching = inner.branching
        self.max_depth, self.max_nodes = inner.max_depth, inner.max_nodes
        self.feature_layers = inner.feature_layers
        self.harvest_topk = max(topk, inner.harvest_topk)
        self.prompt_window = max(prompt_window, inner.prompt_window)
        self._passes: list[TracedPass] = []
        self._prompt: tuple[Tensor, Tensor | None] | None = None

    @property
    def output_head(self) -> OutputHead | None:
        """The head of what drafts."""
        return self.inner.output_head

    @property
    def arm(self) -> Arm | None:
        """What the controller of what drafts chose."""
        return self.inner.arm

    @property
    def active_size(self) -> Tensor:
        """K of what drafts."""
        return self.inner.active_size

    @property
    def rows_fetched(self) -> Tensor:
        """LM-head rows fetched by what drafts."""
        return self.inner.rows_fetched

    @property
    def named_components(self) -> list[tuple[str, object]]:
        """The components of what drafts."""
        return self.inner.named_components

    @property
    def drafter(self) -> object:
        """Who answers for the draft trees."""
        return self.inner.drafter

    def memory_use(self) -> MemoryUse | None:
        """Return the memory of what drafts."""
        return self.inner.memory_use()

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return 0: what is recorded of a prompt is recorded from its start."""
        return 0

    def start(self, prompt_ids: Tensor, prefill: Prefill, clock: PhaseClock, kept: int = 0) -> None:
        """Begin a request, and show ``inner`` only what it asked for."""
        self._passes, self._prompt = [], (prompt_ids, prefill.topk_ids)
        wanted = None
        if prefill.topk_ids is not None and self.inner.harvest_topk and self.inner.prompt_window:
            wanted = prefill.topk_ids[-self.inner.prompt_window :, : self.inner.harvest_topk]
        self.inner.start(prompt_ids, attrs.evolve(prefill, topk_ids=wanted), clock)

    def draw_from(self, generator: Generator) -> None:
        """Pass the source of randomness on."""
        self.inner.draw_from(generator)

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return the tree of what drafts."""
        return self.inner.draft(root, features, clock)

    def learn(self, verdict: Verdict, tree: DraftTree, topk_ids: Tensor | None, clock: PhaseClock) -> None:
        """Keep one target pass and pass it on."""
        assert topk_ids is not None
        # A drafter may use the same tensors again at the next step.
        columns = (tree.token_ids, tree.parents, tree.depths, tree.log_probs)
        kept = DraftTree(*(column.clone() for column in columns))
        self._passes.append(TracedPass(kept, verdict, len(verdict.emitted_ids), topk_ids))
        wanted = topk_ids[:, : self.inner.harvest_topk] if self.inner.harvest_topk else None
        self.inner.learn(verdict, tree, wanted, clock)

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every id whether it may be proposed now."""
        return self.inner.covered(ids)

    def take(self, report: GenerationReport, steps: list[StepStats]) -> TracedRequest | None:
        """Return the request that was just finished, and forget it.

        Args:
            report: of the request.
            steps: its target passes.

        Returns:
            None if it had no target pass, or if it went on without drafting after a fault.
        """
        passes, prompt = self._passes, self._prompt
        self._passes, self._prompt = [], None
        if prompt is None or not passes or len(passes) != len(steps):
            return None
        passes = [
            attrs.evolve(one, emitted=len(step.emitted_ids)) for one, step in zip(passes, steps, strict=True)
        ]
        prompt_ids, topk_ids = prompt
        if topk_ids is None:
            topk_ids = prompt_ids.new_empty(0, self.harvest_topk)
        return from_passes(report.id, report.task, prompt_ids, topk_ids, passes)


class TraceRecorder:
    """Records what an engine generates.

    Args:
        engine: every request it finishes may be handed to ``add``; its drafting gets a tap.
        path: the trace, new or to be gone on with.
        topk: how many of the target's top ids to record per position.
        prompt_window: for how many of the last prompt positions.
        strategy: what to call the strategy that runs, options included.

    Raises:
        UsageError: ``topk`` is beyond the vocabulary, or the file is a trace of something else.
    """

    def __init__(self, engine: Engine, path: Path, *, topk: int, prompt_window: int, strategy: str) -> None:
        target, config = engine.target, engine.config
        if not 1 <= topk <= target.vocab_size:
            raise UsageError(f"{topk} top ids per position; allowed: 1 to {target.vocab_size}")
        if prompt_window < 0:
            raise UsageError(f"a window of {prompt_window} prompt positions; allowed: 0 or more")
        drafting = engine.drafting
        head = drafting.output_head
        reduced = None if head is None else head.reduced
        tap = TraceTap(drafting, topk, prompt_window)
        header = TraceHeader(
            model=target.name,
            tokenizer_fingerprint=target.tokenizer_fingerprint,
            dtype=config.dtype,
            vocab_size=target.vocab_size,
            hidden_size=(head or target.output_head).hidden_size,
            draft_ids=None if reduced is None else tuple(reduced.token_ids.tolist()),
            required_ids=tuple(target.required_ids.tolist()),
            stop_ids=tuple(sorted(target.stop_ids)),
            topk=tap.harvest_topk,
            prompt_window=tap.prompt_window,
            strategy=strategy,
            drafter=None if head is None else config.drafter,
            branching=drafting.branching,
            max_depth=drafting.max_depth,
            max_nodes=drafting.max_nodes,
        )
        self._writer = TraceWriter(path, header)
        self._engine = engine
        self._tap = engine.drafting = tap

    def has(self, id: str, task: str) -> bool:
        """Return whether the trace holds a request already."""
        return (task, id) in self._writer.recorded

    def add(self) -> None:
        """Append the request that the engine has just finished.

        Raises:
            SpecframeError: the trace cannot be written.
        """
        assert self._engine.report is not None
        request = self._tap.take(self._engine.report, self._engine.steps)
        if request is not None:
            self._writer.append(request)

    def close(self) -> None:
        """Close the trace."""
        self._writer.close()

    def __enter__(self) -> TraceRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
