"""Recording a trace: what the loop hands to its drafting is kept on the way, with no read from the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import attrs
import torch
from torch import Generator, Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.report import GenerationReport, StepStats
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.draft_states import head_digest
from specframe.engine.drafting.protocol import Drafting
from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.model.target import Prefill
from specframe.replay.trace import TracedPass, TracedRequest, TraceHeader, from_passes
from specframe.replay.trace_file import TraceWriter


class TraceTap:
    """The ``Drafting`` that keeps what goes by on its way to another one.

    Args:
        inner: what drafts; it behaves as without the tap.
        topk: how many of the target's top ids to keep per position; at least as many as ``inner`` wants.
        prompt_window: for how many of the last prompt positions; likewise.
        hidden_size: H of the drafter's hidden states, to keep them too; None to leave them.
    """

    def __init__(
        self, inner: Drafting, topk: int, prompt_window: int, hidden_size: int | None = None
    ) -> None:
        self.drafter, self.figures = inner.drafter, inner.figures
        self.demands = attrs.evolve(
            inner.demands,
            harvest_topk=max(topk, inner.demands.harvest_topk),
            prompt_window=max(prompt_window, inner.demands.prompt_window),
        )
        self.inner = inner
        self._passes: list[TracedPass] = []
        self._levels: list[Tensor] = []
        self._hidden_size = hidden_size
        if hidden_size is not None:
            inner.listen(self._keep)
        self._prompt: tuple[Tensor, TopTokens | None] | None = None

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return 0: what is recorded of a prompt is recorded from its start."""
        return 0

    def start(
        self, prompt_ids: Tensor, prefill: Prefill, generator: Generator, clock: PhaseClock, kept: int = 0
    ) -> None:
        """Begin a request, and show ``inner`` only what it asked for."""
        self._passes, self._prompt = [], (prompt_ids, prefill.top)
        wanted, asked = None, self.inner.demands
        if prefill.top is not None and asked.harvest_topk and asked.prompt_window:
            wanted = prefill.top.cut(asked.harvest_topk, last=asked.prompt_window)
        self.inner.start(prompt_ids, attrs.evolve(prefill, top=wanted), generator, clock)

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return the tree of what drafts."""
        self._levels = []
        return self.inner.draft(root, features, clock)

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None, clock: PhaseClock) -> None:
        """Keep one target pass and pass it on."""
        assert top is not None
        # A drafter may use the same tensors again at the next step.
        columns = (tree.token_ids, tree.parents, tree.depths, tree.log_probs)
        kept = DraftTree(*(column.clone() for column in columns))
        levels = tuple(self._levels)
        self._passes.append(TracedPass(kept, verdict, len(verdict.emitted_ids), top.ids, levels))
        asked = self.inner.demands.harvest_topk
        self.inner.learn(verdict, tree, top.cut(asked) if asked else None, clock)

    def forget(self) -> None:
        """Have the drafter forget what it learnt."""
        self.inner.forget()

    def listen(self, note: Callable[[Tensor], None]) -> None:
        """Have hidden states noted; not beside those that are recorded."""
        self.inner.listen(note)

    def finish(self) -> None:
        """End a request."""
        self.inner.finish()

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
        prompt_ids, top = prompt
        topk_ids = prompt_ids.new_empty(0, self.demands.harvest_topk) if top is None else top.ids
        return from_passes(report.id, report.task, prompt_ids, topk_ids, passes, self._hidden_size)

    def _keep(self, hidden: Tensor) -> None:
        """Keep the hidden states [n, H] of one call of the LM head, a copy in half precision."""
        self._levels.append(hidden.detach().to(torch.float16, copy=True))


class TraceRecorder:
    """Records what an engine generates.

    Args:
        engine: every request it finishes may be handed to ``add``; its drafting gets a tap.
        path: the trace, new or to be gone on with.
        topk: how many of the target's top ids to record per position.
        prompt_window: for how many of the last prompt positions.
        strategy: what to call the strategy that runs, options included.
        hidden: whether to record the drafter's hidden states, for strategies with a screen.

    Attributes:
        hidden_bytes: the most that hidden states of one target pass take, before they are compressed.

    Raises:
        UsageError: ``topk`` is beyond the vocabulary, nothing is drafted that has hidden states, or the file
            is a trace of something else.
    """

    def __init__(
        self,
        engine: Engine,
        path: Path,
        *,
        topk: int,
        prompt_window: int,
        strategy: str,
        hidden: bool = False,
    ) -> None:
        target, config = engine.target, engine.config
        if not 1 <= topk <= target.vocab_size:
            raise UsageError(f"{topk} top ids per position; allowed: 1 to {target.vocab_size}")
        if prompt_window < 0:
            raise UsageError(f"a window of {prompt_window} prompt positions; allowed: 0 or more")
        drafting = engine.drafting
        own = None if drafting.drafter is None else drafting.drafter.output_head
        head = own or target.output_head
        if hidden and own is None:
            raise UsageError(f"{strategy} drafts without a head and has no hidden states; allowed: others")
        draft_ids = head.row_map.token_ids
        tap = TraceTap(drafting, topk, prompt_window, head.hidden_size if hidden else None)
        header = TraceHeader(
            model=target.name,
            tokenizer_fingerprint=target.tokenizer_fingerprint,
            dtype=config.dtype,
            vocab_size=target.vocab_size,
            hidden_size=head.hidden_size,
            draft_ids=None if draft_ids is None else tuple(draft_ids.tolist()),
            required_ids=tuple(target.required_ids.tolist()),
            stop_ids=tuple(sorted(target.stop_ids)),
            topk=tap.demands.harvest_topk,
            prompt_window=tap.demands.prompt_window,
            strategy=strategy,
            drafter=None if drafting.drafter is None else config.drafter,
            branching=drafting.demands.branching,
            max_depth=drafting.demands.max_depth,
            max_nodes=drafting.demands.max_nodes,
            hidden_states=hidden,
            states_key=engine.states.key if hidden and engine.states is not None else None,
            head_digest=head_digest(head) if hidden and head is target.output_head else None,
        )
        demands = drafting.demands
        # One state on the first level, and as many as beams on each of those below.
        most = 1 + max(demands.max_depth - 1, 0) * demands.branching
        self.hidden_bytes = most * head.hidden_size * torch.finfo(torch.float16).bits // 8 if hidden else 0
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
