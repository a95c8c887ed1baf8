"""The loop: draft over the active vocabulary, verify in one target pass, learn from it (NanoSpec 2026)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Unpack

import torch
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock, TimedEvent
from specframe.contracts.protocols import Verifier
from specframe.contracts.report import GenerationReport, StepStats
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.tree import DraftTree
from specframe.engine.drafting import Autoregressive
from specframe.engine.faults import ComponentError, blame, label_components
from specframe.engine.generation import Generation
from specframe.engine.prefix_cache import PrefixCache
from specframe.engine.tree_check import TreeCheck
from specframe.model.target import Target, top_ids
from specframe.registry.observers import Observers
from specframe.request.output import Chunk
from specframe.request.request import Prompt, Request, RequestSettings

_log = logging.getLogger(__name__)


class Engine:
    """Generates with one target and one choice of components; requests run one after the other.

    Every request starts from nothing, turns of a conversation aside, so results do not depend on their
    order. A request that fails or is given up, by an interrupt or by closing its iterator, leaves nothing
    behind. Engines may share a target; only one request at a time is served, in any thread.

    Args:
        config: what was asked for; ``max_new_tokens`` and ``sampling`` are the defaults of every request.
        target: the model whose output counts.
        verifier: decides what is accepted.
        drafting: proposes.
        observers: told about every generation.
        lossy: whether the verifier changes the target's distribution, for the report.
        check_sampling: raises for a request's own sampling parameters that a component cannot run with.

    Attributes:
        clock: says where the time of a generation goes; another one may be put in its place.
        report: of the last finished generation.
        steps: of its target passes.
    """

    def __init__(
        self,
        config: RunConfig,
        target: Target,
        verifier: Verifier,
        drafting: Autoregressive,
        observers: Observers,
        *,
        lossy: bool = False,
        check_sampling: Callable[[SamplingParams], None] = lambda _: None,
    ) -> None:
        self.config = config
        self.target = target
        self.verifier = verifier
        self.drafting = drafting
        self.lossy = lossy
        self.report: GenerationReport | None = None
        self.steps: list[StepStats] = []
        self._observers, self._check_sampling = observers, check_sampling
        self.clock = PhaseClock(_timed_event if target.device.type == "cuda" else None)
        self._prefix_cache = PrefixCache(target)
        self._check = TreeCheck(target.vocab_size, drafting.max_nodes, target.device)

    def generate(
        self,
        prompt: Prompt | Request,
        max_new_tokens: int | None = None,
        **settings: Unpack[RequestSettings],
    ) -> GenerationReport:
        """Generate to the end and return the report; arguments and errors as in ``stream``."""
        for _ in self.stream(prompt, max_new_tokens, **settings):
            pass
        assert self.report is not None
        return self.report

    def generate_all(self, requests: Iterable[Prompt | Request]) -> Iterator[GenerationReport]:
        """Yield the report of every request, one after the other; none sees anything of the others."""
        return (self.generate(request) for request in requests)

    def stream(
        self,
        prompt: Prompt | Request,
        max_new_tokens: int | None = None,
        **settings: Unpack[RequestSettings],
    ) -> Generator[Chunk, None, None]:
        """Yield what every target pass adds to the output; at the end, ``report`` is set.

        Args:
            prompt: text, messages of a chat, token ids [T], or a whole ``Request``.
            max_new_tokens: length limit; by default the config's.
            **settings: other fields of ``Request``.

        Raises:
            UsageError: the request is not allowed, or does not fit the target's positions.
            SpecframeError: a component failed, which the message names; or another request has begun.
        """
        request = Request.of(prompt, max_new_tokens, settings)
        if request.sampling is not None:
            self._check_sampling(request.sampling)
        return self._stream(Generation.of(request, self.target, self.config))

    @torch.inference_mode()
    def _stream(self, generation: Generation) -> Generator[Chunk, None, None]:
        """Yield the chunks of a request that has been checked, and sum it up."""
        clock, lock = self.clock, self.target.request_lock
        with lock.enter() as ticket, self._prefix_cache.unless_it_fails(), blame(self._labels):
            self._observers.generation_started(self.config)
            clock.start()
            for chunk in self._steps(generation):
                clock.lap("other")
                with lock.paused(ticket):
                    yield chunk
                clock.lap("consumer")
            self.steps = generation.recorder.steps()
            self.report = generation.recorder.report(
                self.config,
                clock,
                generation.request,
                generation.output,
                model=self.target.name,
                prompt_tokens=len(generation.prompt_ids),
                drafting=self.drafting,
                lossy=self.lossy,
            )
            self._observers.generation_finished(self.report)

    def _steps(self, generation: Generation) -> Iterator[Chunk]:
        """Yield what the prefill and every target pass emit, until the output ends."""
        target, drafting, clock = self.target, self.drafting, self.clock
        output, recorder, prompt_ids = generation.output, generation.recorder, generation.prompt_ids
        ids, conversation = prompt_ids.tolist(), generation.request.turn_of

        kept = self._prefix_cache.begin(drafting, ids, output.limit + drafting.max_nodes, conversation)
        recorder.kept_tokens = kept
        prefill = target.prefill(
            prompt_ids[kept:],
            chunk=self.config.prefill_chunk,
            harvest_topk=drafting.harvest_topk,
            harvest_window=drafting.prompt_window,
        )
        last, features = DraftTree.root_only(ids[-1], target.device), prefill.features[-1:]
        logits = generation.logits.after(last, prefill.logits)
        chunk = output.add(self.verifier.verify(last, logits, generation.generator).emitted_ids)
        generation.logits.extend(chunk.token_ids)
        clock.lap("prefill")
        yield chunk

        try:
            with blame(self._labels):
                if output.finish_reason is None:
                    drafting.draw_from(generation.generator)
                    drafting.start(prompt_ids, prefill, clock, kept)
                    self._prefix_cache.hold(ids, conversation)
                yield from self._passes(generation, drafting, features)
        except ComponentError as error:
            if not self.config.fallback or error.component is self.verifier:
                raise
            _log.warning("specframe goes on without drafting: %s", error)
            recorder.fallback = str(error)
            self._prefix_cache.forget()
            yield from self._passes(generation, Autoregressive(), features)

    def _passes(self, generation: Generation, drafting: Autoregressive, features: Tensor) -> Iterator[Chunk]:
        """Yield what every target pass emits, given the features of the last committed position [1, F]."""
        target, output, clock = self.target, generation.output, self.clock
        while output.finish_reason is None:
            root = output.token_ids[-1]
            tree = self._check.admit(drafting.draft(root, features, clock), root, drafting.drafter)
            target_pass = target.tree_pass(tree)
            clock.lap("target_pass")

            logits = generation.logits.after(tree, target_pass.logits)
            verdict = self.verifier.verify(tree, logits, generation.generator)
            self._check.confirm(verdict, self.verifier)
            target.commit(verdict.path)
            self._prefix_cache.extend((root, *verdict.accepted_ids))
            features = target_pass.features[list(verdict.path)]
            chunk = output.add(verdict.emitted_ids)
            generation.logits.extend(chunk.token_ids)
            clock.lap("other")
            generation.recorder.record(tree, verdict, chunk.token_ids, drafting)
            clock.lap("statistics")
            yield chunk

            topk_ids = top_ids(target_pass.logits, drafting.harvest_topk) if drafting.harvest_topk else None
            clock.lap("vocabulary")
            drafting.learn(verdict, tree, topk_ids, clock)
            self._observers.step_finished(generation.recorder.last_step)

    @property
    def _labels(self) -> list[tuple[str, object]]:
        """Every component with what errors call it."""
        return label_components(self.config, [("verifier", self.verifier), *self.drafting.named_components])


def _timed_event() -> TimedEvent:
    return torch.cuda.Event(enable_timing=True)
