"""The loop: draft over the active vocabulary, verify in one target pass, learn from it (NanoSpec 2026)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Unpack

import torch
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.called.verifier import CalledVerifier
from specframe.contracts.clock import PhaseClock, TimedEvent
from specframe.contracts.faults import ComponentError
from specframe.contracts.kinds import TargetHeadName
from specframe.contracts.numbers import whole
from specframe.contracts.protocols import Verifier
from specframe.contracts.report import GenerationReport, StepStats
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.screen import StateSource
from specframe.contracts.target_logits import HeadOutput
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.drafting.autoregressive import Autoregressive
from specframe.engine.drafting.protocol import Drafting
from specframe.engine.generation import Generation
from specframe.engine.prefix_cache import PrefixCache
from specframe.engine.recorder import drafted_pass
from specframe.engine.tree_check import TreeCheck
from specframe.errors import UsageError
from specframe.model.target import Prefill, Target, TreePass
from specframe.registry.observers import Observers
from specframe.request.batches import prompts_of
from specframe.request.generation_config import ModelDefaults
from specframe.request.output import Chunk
from specframe.request.request import Prompt, Request, RequestSettings

_log = logging.getLogger(__name__)


class Engine:
    """Generates with one target and one choice of components; requests run one after the other.

    Every request starts from nothing, turns of a conversation and warm drafters aside, and tokens never
    depend on the order of requests. A request that fails or is given up, by an interrupt or by closing its
    iterator, leaves nothing behind. Engines may share a target; only one request at a time is served, in any
    thread.

    Args:
        config: what was asked for; ``max_new_tokens`` and ``sampling`` are the defaults of every request.
        target: the model whose output counts.
        verifier: decides what is accepted.
        drafting: proposes.
        observers: told about every generation.
        lossy: whether the verifier changes the target's distribution, for the report.
        states: what screens of the drafter's LM head are fitted to; None where nothing is drafted.
        check_sampling: raises for a request's own sampling parameters that a component cannot run with.
        defaults: what the model's generation config asks for; None where it counts for nothing.
        fallback: what failed, where nothing is drafted because of it.

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
        drafting: Drafting,
        observers: Observers,
        *,
        lossy: bool = False,
        states: StateSource | None = None,
        check_sampling: Callable[[SamplingParams], None] = lambda _: None,
        defaults: ModelDefaults | None = None,
        fallback: str | None = None,
    ) -> None:
        self.config = config
        self.target = target
        self.verifier = CalledVerifier.of(verifier)
        self.drafting = drafting
        self.lossy = lossy
        self.states = states
        self.defaults = defaults
        self.report: GenerationReport | None = None
        self.steps: list[StepStats] = []
        self._observers, self._check_sampling, self._fallback = observers, check_sampling, fallback
        self.clock = PhaseClock(_timed_event if target.device.type == "cuda" else None)
        self._prefix_cache = PrefixCache(target)
        self._learnt_from: object = None  # the conversation of the last request
        # Nobody knows what the drafter learnt: costs were measured with it, or a request failed in mid-step.
        self._must_forget = True
        self._check = TreeCheck(
            target.vocab_size, drafting.demands.max_nodes, target.device, drafting.drafter, self.verifier
        )

    def forget(self) -> None:
        """Forget what is kept of earlier requests: caches of a conversation, and what a warm drafter learnt.

        Raises:
            SpecframeError: a request is at work.
        """
        with self.target.request_lock.enter():
            self._prefix_cache.forget()
            self._learnt_from = None
            self.drafting.forget()
            self._must_forget = False

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

    def generate_all(
        self,
        requests: Iterable[Prompt | Request] | Mapping[str, Any],
        *,
        attention_mask: Any = None,
        num_return_sequences: int = 1,
        **settings: Unpack[RequestSettings],
    ) -> Iterator[GenerationReport]:
        """Yield the report of every request, one after the other; none sees anything of the others.

        Args:
            requests: prompts and requests; or a batch: ids [B, T], or what a tokenizer returns for several
                texts. Padding is left out by its attention mask.
            attention_mask: of a batch of ids [B, T].
            num_return_sequences: samples of each; the seeds of those after the first count up.
            **settings: fields of ``Request`` for all of them.

        Raises:
            UsageError: a request is not allowed, a mask does not fit, or several samples are asked for at
                temperature 0, where all are equal.
        """
        samples = whole("num_return_sequences", num_return_sequences)
        if samples < 1:
            raise UsageError(f"num_return_sequences is {samples}; allowed: 1 or more")
        return self._generate_all(prompts_of(requests, attention_mask), samples, settings)

    def _generate_all(
        self, prompts: Iterable[Prompt | Request], samples: int, settings: RequestSettings
    ) -> Iterator[GenerationReport]:
        for prompt in prompts:
            request = Request.of(prompt, None, settings)
            if samples == 1:
                yield self.generate(request)
                continue
            sampling = Generation.of(request, self.target, self.config, self.defaults).sampling
            if sampling.temperature == 0.0:
                raise UsageError(
                    f"num_return_sequences is {samples} at temperature 0, where all are equal; allowed: 1, "
                    "or a temperature above 0"
                )
            for further in range(samples):
                asked = (request.sampling or self.config.sampling).changed(seed=sampling.seed + further)
                yield self.generate(request, sampling=asked)

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
        generation = Generation.of(request, self.target, self.config, self.defaults)
        if generation.sampling.values() != self.config.sampling.values():
            self._check_sampling(generation.sampling)
        return self._stream(generation)

    @torch.inference_mode()
    def _stream(self, generation: Generation) -> Generator[Chunk, None, None]:
        """Yield the chunks of a request that has been checked, and sum it up."""
        clock, lock = self.clock, self.target.request_lock
        with lock.enter() as ticket, self._prefix_cache.unless_it_fails():
            self._observers.generation_started(self.config)
            clock.start()
            generation.recorder.fallback = self._fallback
            try:
                for chunk in self._chunks(generation):
                    clock.lap("other")
                    with lock.paused(ticket):
                        yield chunk
                    clock.lap("consumer")
            except BaseException:  # of one that its consumer leaves, too
                self._give_up(generation)
                raise
            self._finish(generation)
            self.steps = generation.recorder.steps()
            self.report = generation.recorder.report(
                self.config,
                clock,
                generation.request,
                generation.output,
                model=self.target.name,
                prompt_tokens=len(generation.prompt_ids),
                drafting=self.drafting,
                sampling=generation.sampling,
                generation_config=generation.applied,
                logprobs=None if generation.logprobs is None else generation.logprobs.kept,
                head=self._head_of(generation),
                lossy=self.lossy,
            )
            self._observers.generation_finished(self.report)

    def _chunks(self, generation: Generation) -> Iterator[Chunk]:
        """Yield what the prefill and every step emit, until the output ends."""
        drafting, ids = self.drafting, generation.prompt_ids.tolist()
        conversation = generation.request.turn_of
        try:
            kept, prefill = self._prefill(generation, drafting, ids, conversation)
        except ComponentError as error:
            self._go_on_without(generation, error)
            drafting = Autoregressive()
            kept, prefill = self._prefill(generation, drafting, ids, conversation)
        features = prefill.features[-1:]
        prompt_end = self._check.admit(DraftTree.root_only(ids[-1], self.target.device), ids[-1])
        _, chunk = self._verify(generation, prompt_end, prefill.logits)
        self.clock.lap("prefill")
        yield chunk

        try:
            if generation.output.finish_reason is None and drafting is self.drafting:
                self._begin_learning(conversation)
                drafting.start(generation.prompt_ids, prefill, generation.generator, self.clock, kept)
                self._prefix_cache.hold(ids, conversation)
            yield from self._steps(generation, drafting, features)
            return
        except GeneratorExit:
            raise
        except ComponentError as error:
            self._go_on_without(generation, error)
        except BaseException:
            self._must_forget = True
            raise
        yield from self._steps(generation, Autoregressive(), features)

    def _go_on_without(self, generation: Generation, error: ComponentError) -> None:
        """Note that a component failed that drafts, so that the rest is generated without it.

        Raises:
            ComponentError: the given one, where the user does not allow that, or the verifier failed.
        """
        self._must_forget = True
        if not self.config.fallback or error.kind == "verifier":
            raise error
        generation.recorder.fallback = str(error)
        _log.warning("specframe goes on without drafting: %s", error)
        self._prefix_cache.forget()

    def _finish(self, generation: Generation) -> None:
        """End a request that was generated to its end."""
        try:
            self.drafting.finish()
        except ComponentError as error:
            if generation.recorder.fallback is None:  # else it is known that drafting failed
                self._go_on_without(generation, error)

    def _give_up(self, generation: Generation) -> None:
        """End a request in its midst; what ends it counts, and not what fails because of that."""
        try:
            self.drafting.finish()
        except ComponentError as error:
            self._must_forget = True
            _log.warning("specframe: a request was given up, and %s", error)

    def _begin_learning(self, conversation: object) -> None:
        """Have the drafter forget earlier requests, except those that the user lets it learn from.

        Before the first request, and after one that failed, it starts afresh in any case.
        """
        warm = self.config.warm
        same = conversation is not None and conversation is self._learnt_from
        if self._must_forget or not (warm == "shared" or (warm == "conversation" and same)):
            self.drafting.forget()
        self._must_forget, self._learnt_from = False, conversation

    def _steps(self, generation: Generation, drafting: Drafting, features: Tensor) -> Iterator[Chunk]:
        """Yield what every step emits, given the features of the last committed position [1, F]."""
        while generation.output.finish_reason is None:
            root = generation.output.token_ids[-1]
            tree = self._draft(drafting, root, features)
            target_pass = self._run_target(generation, tree)
            verdict, chunk = self._verify(generation, tree, target_pass.output)
            features = self._commit(verdict, root, target_pass)
            self._record(generation, drafting, tree, verdict, chunk)
            yield chunk
            self._learn(drafting, verdict, tree, target_pass)
            self._observers.step_finished(generation.recorder.last_step, self.config)

    def _head_of(self, generation: Generation) -> tuple[TargetHeadName, str]:
        """Return what the target's first choices come from, and why."""
        if self._needs_all_logits(generation):
            return "full", "all logits are needed"
        name = self.target.head_name
        return name, "asked for" if self.config.target_head == name else self.target.head_reason

    def _needs_all_logits(self, generation: Generation) -> bool:
        """Return whether the target's first choices are not enough, for a request or for the drafter."""
        return generation.needs_all_logits or self.drafting.demands.harvest_log_probs

    def _prefill(
        self, generation: Generation, drafting: Drafting, ids: list[int], conversation: object
    ) -> tuple[int, Prefill]:
        """Let the target read the prompt; return how many first positions are kept from the turn before."""
        demands = drafting.demands
        room = generation.output.limit + demands.max_nodes
        kept = self._prefix_cache.begin(drafting, ids, room, conversation)
        generation.recorder.kept_tokens = kept
        return kept, self.target.prefill(
            generation.prompt_ids[kept:],
            chunk=self.config.prefill_chunk,
            harvest_topk=demands.harvest_topk,
            harvest_window=demands.prompt_window,
            harvest_log_probs=demands.harvest_log_probs,
        )

    def _draft(self, drafting: Drafting, root: int, features: Tensor) -> DraftTree:
        """Return a draft tree with every value in range, which ends where the target's positions do."""
        tree = self._check.admit(drafting.draft(root, features, self.clock), root)
        room = self.target.room_below
        if room >= drafting.demands.max_depth or int(tree.depths.max()) <= room:
            return tree
        # Few steps of a request are so near to the end: a whole draft is thrown away.
        return self._check.admit(DraftTree.root_only(root, self.target.device), root)

    def _run_target(self, generation: Generation, tree: DraftTree) -> TreePass:
        """Run the target once over all nodes."""
        whole = self._needs_all_logits(generation)
        target_pass = self.target.tree_pass(tree, whole=True) if whole else self.target.tree_pass(tree)
        self.clock.lap("target_pass")
        return target_pass

    def _verify(
        self, generation: Generation, tree: DraftTree, logits: Tensor | HeadOutput
    ) -> tuple[Verdict, Chunk]:
        """Return the verdict on a tree, given what the target says, and what it adds to the output."""
        target = generation.logits.after(tree, logits)
        try:
            verdict = self.verifier.verify(tree, target, generation.generator)
        except ComponentError:
            self._check.confirm_tree()  # whoever drafted a broken one is at fault
            raise
        self._check.confirm(verdict)
        return verdict, generation.emit(target, verdict)

    def _commit(self, verdict: Verdict, root: int, target_pass: TreePass) -> Tensor:
        """Keep the accepted path in the target's cache; return the features at its positions [n, F]."""
        self.target.commit(verdict.path)
        self._prefix_cache.extend((root, *verdict.accepted_ids))
        # An index of numbers would wait for the device.
        path = torch.tensor(verdict.path).to(target_pass.features.device, non_blocking=True)
        return target_pass.features[path]

    def _record(
        self, generation: Generation, drafting: Drafting, tree: DraftTree, verdict: Verdict, chunk: Chunk
    ) -> None:
        self.clock.lap("other")
        generation.recorder.record(tree, verdict, chunk.token_ids, drafting.figures)
        if generation.request.watch_passes is not None:
            generation.request.watch_passes(drafted_pass(tree, verdict, chunk.token_ids, drafting.figures))
        self.clock.lap("statistics")

    def _learn(self, drafting: Drafting, verdict: Verdict, tree: DraftTree, target_pass: TreePass) -> None:
        """Tell drafter and strategy what became of the tree."""
        demands = drafting.demands
        k, log_probs = demands.harvest_topk, demands.harvest_log_probs
        top = TopTokens.of(target_pass.output, k, log_probs=log_probs) if k else None
        self.clock.lap("vocabulary")
        drafting.learn(verdict, tree, top, self.clock)


def _timed_event() -> TimedEvent:
    return torch.cuda.Event(enable_timing=True)
