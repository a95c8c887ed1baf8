"""The loop: draft over the active vocabulary, verify in one target pass, learn from it (NanoSpec 2026)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import LogitsProcessorList

from specframe.clock import PhaseClock, TimedEvent
from specframe.config import RunConfig
from specframe.drafting import Autoregressive
from specframe.errors import UsageError, blame
from specframe.observers import Observers
from specframe.protocols import Verifier
from specframe.recorder import GenerationRecorder
from specframe.target import Target, top_ids
from specframe.target_logits import LogitsProcessing, logits_processors
from specframe.types import DraftTree, GenerationReport, StepStats


class Engine:
    """Generates with one target and one choice of components; requests run one after the other.

    Args:
        config: what was asked for; ``max_new_tokens`` is the default of every request.
        target: the model whose output counts.
        verifier: decides what is accepted.
        drafting: proposes.
        observers: told about every generation.

    Attributes:
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
    ) -> None:
        self.config = config
        self.target = target
        self.verifier = verifier
        self.drafting = drafting
        self.report: GenerationReport | None = None
        self.steps: list[StepStats] = []
        self._observers = observers
        self._clock = PhaseClock(_timed_event if target.device.type == "cuda" else None)

    def generate(
        self,
        prompt_ids: Tensor,
        max_new_tokens: int | None = None,
        *,
        logits_processor: LogitsProcessorList | None = None,
        id: str = "",
        task: str = "",
    ) -> GenerationReport:
        """Generate to the end and return the report; arguments and errors as in ``stream``."""
        for _ in self.stream(prompt_ids, max_new_tokens, logits_processor=logits_processor, id=id, task=task):
            pass
        assert self.report is not None
        return self.report

    @torch.inference_mode()
    def stream(
        self,
        prompt_ids: Tensor,
        max_new_tokens: int | None = None,
        *,
        logits_processor: LogitsProcessorList | None = None,
        id: str = "",
        task: str = "",
    ) -> Iterator[tuple[int, ...]]:
        """Yield the new token ids of every target pass as they are accepted; then ``report`` is set.

        Args:
            prompt_ids: [T] int64.
            max_new_tokens: length limit; by default the config's.
            logits_processor: processors of transformers, or of your own with its interface, to apply
                besides the config's; each must depend on nothing but the ids and scores it is given.
            id: name of the request in the report.
            task: its task in the report.

        Raises:
            UsageError: the prompt is empty or, with the new tokens, beyond the target's positions.
            SpecframeError: a component failed; the message names it.
        """
        limit = self.config.max_new_tokens if max_new_tokens is None else max_new_tokens
        self._check_request(prompt_ids, limit)
        self._observers.generation_started(self.config)
        recorder, clock, token_ids = GenerationRecorder(), self._clock, list[int]()
        clock.start()
        prompt_ids = prompt_ids.to(self.target.device)
        processing = LogitsProcessing(
            logits_processors(self.config, logits_processor), prompt_ids, len(prompt_ids) + limit
        )
        with blame(self._named_components()):
            for emitted in self._steps(prompt_ids, limit, processing, recorder):
                token_ids.extend(emitted)
                clock.lap("other")
                yield emitted
                clock.lap("consumer")
        self.steps = recorder.steps()
        self.report = recorder.report(
            self.config,
            clock,
            model=self.target.name,
            prompt_tokens=len(prompt_ids),
            token_ids=token_ids,
            text=str(self.target.tokenizer.decode(token_ids, skip_special_tokens=True)),
            finish_reason="eos" if token_ids[-1] in self.target.stop_ids else "length",
            max_depth=self.drafting.max_depth,
            id=id,
            task=task,
        )
        self._observers.generation_finished(self.report)

    def _steps(
        self, prompt_ids: Tensor, limit: int, processing: LogitsProcessing, recorder: GenerationRecorder
    ) -> Iterator[tuple[int, ...]]:
        """Yield what every target pass emits, until a stop id or the length limit."""
        target, drafting, clock = self.target, self.drafting, self._clock
        generator = torch.Generator(device=target.device).manual_seed(self.config.seed)

        target.begin(len(prompt_ids) + limit + drafting.max_nodes)
        prefill = target.prefill(
            prompt_ids,
            chunk=self.config.prefill_chunk,
            harvest_topk=drafting.harvest_topk,
            harvest_window=drafting.prompt_window,
        )
        features = prefill.features[-1:]
        last = DraftTree.root_only(int(prompt_ids[-1]), target.device)
        verdict = self.verifier.verify(last, processing.after(last, prefill.logits), generator)
        emitted = verdict.emitted_ids
        processing.extend(emitted)
        clock.lap("prefill")
        yield emitted
        remaining = limit - 1
        if remaining and emitted[-1] not in target.stop_ids:
            drafting.start(prompt_ids, prefill, clock)

        while remaining and emitted[-1] not in target.stop_ids:
            tree = drafting.draft(verdict.next_token, features, clock)
            target_pass = target.tree_pass(tree)
            clock.lap("target_pass")

            verdict = self.verifier.verify(tree, processing.after(tree, target_pass.logits), generator)
            target.commit(verdict.path)
            features = target_pass.features[list(verdict.path)]
            emitted = self._cut(verdict.emitted_ids, remaining)
            processing.extend(emitted)
            recorder.record(
                tree,
                verdict,
                emitted,
                drafting.covered(verdict.emitted_ids),
                drafting.active_size,
                drafting.rows_fetched,
            )
            clock.lap("other")

            topk_ids = top_ids(target_pass.logits, drafting.harvest_topk) if drafting.harvest_topk else None
            clock.lap("vocabulary")
            drafting.learn(verdict, tree, topk_ids, clock)
            self._observers.step_finished(recorder.last_step)
            yield emitted
            remaining -= len(emitted)

    def _cut(self, emitted: tuple[int, ...], remaining: int) -> tuple[int, ...]:
        """Return the emitted ids up to the length limit and the first stop id, that id included."""
        for length, token_id in enumerate(emitted[:remaining], start=1):
            if token_id in self.target.stop_ids:
                return emitted[:length]
        return emitted[:remaining]

    def _named_components(self) -> list[tuple[str, object]]:
        """Return every component with what errors call it: its kind and the name it was chosen by."""
        config = self.config
        names = {
            "verifier": config.verifier,
            "drafter": config.drafter,
            "gather backend": config.gather,
            "strategy": config.strategy,
        }
        components = [("verifier", self.verifier), *self.drafting.named_components]
        return [(f"{kind} {names[kind]!r}", component) for kind, component in components]

    def _check_request(self, prompt_ids: Tensor, limit: int) -> None:
        positions, prompt = self.target.max_positions, len(prompt_ids)
        if prompt == 0:
            raise UsageError("the prompt is empty; allowed: at least one token")
        if limit < 1:
            raise UsageError(f"max_new_tokens is {limit}; allowed: 1 or more")
        if prompt >= positions:
            raise UsageError(
                f"the prompt has {prompt} tokens; allowed: at most {positions - 1}, since {self.target.name} "
                f"has {positions} positions"
            )
        if prompt + limit > positions:
            raise UsageError(
                f"{prompt} prompt tokens and {limit} new ones exceed the {positions} positions of "
                f"{self.target.name}; allowed: max_new_tokens of at most {positions - prompt}"
            )


def _timed_event() -> TimedEvent:
    return torch.cuda.Event(enable_timing=True)
