"""What belongs to one request while it runs, and to no other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import Verdict
from specframe.engine.recorder import GenerationRecorder
from specframe.model.target import Target
from specframe.request.generation_config import ModelDefaults, Situation
from specframe.request.logprobs import Logprobs
from specframe.request.output import Chunk, Output
from specframe.request.processors import LogitsProcessing, logits_processors
from specframe.request.request import Request, fit


@attrs.frozen(slots=True, eq=False)
class Generation:
    """One request on its way.

    Attributes:
        request: what was asked for.
        prompt_ids: [T] int64 on the target's device.
        output: what was emitted so far.
        logits: applies the request's logits processors.
        generator: all randomness of the request.
        needs_all_logits: the target's first choices are not enough: it is sampled from, or logits are
            processed or looked at.
        sampling: its sampling parameters, settled.
        applied: what the model's generation config sets for it, by name.
        logprobs: of what was emitted; None where nobody asked.
        recorder: its statistics.
    """

    request: Request
    prompt_ids: Tensor
    output: Output
    logits: LogitsProcessing
    generator: torch.Generator
    needs_all_logits: bool
    sampling: SamplingParams
    applied: Mapping[str, Any]
    logprobs: Logprobs | None
    recorder: GenerationRecorder = attrs.field(factory=GenerationRecorder)

    @classmethod
    def of(
        cls, request: Request, target: Target, config: RunConfig, defaults: ModelDefaults | None = None
    ) -> Generation:
        """Return the beginning of a generation.

        Args:
            request: what was asked for.
            target: answers it.
            config: says the rest.
            defaults: what the model's generation config asks for.

        Raises:
            UsageError: the request is not allowed, or does not fit the target's positions.
        """
        prompt_ids, limit = fit(request, target, config)
        model = _defaults_of(request, config, defaults)
        sampling = model.settle(request.sampling or config.sampling)
        ends = torch.tensor(sorted(target.stop_ids), dtype=torch.int64, device=target.device)
        situation = Situation(prompt_ids=prompt_ids, limit=limit, ends=ends)
        processors = logits_processors(sampling, request.logits_processor, model, situation)
        looks_at_logits = request.logprobs is not None or request.watch is not None
        eos_ids = frozenset[int]() if request.ignore_eos else target.stop_ids
        return cls(
            request,
            prompt_ids,
            Output(request, limit, target.tokenizer, eos_ids, model.stop),
            LogitsProcessing(processors, prompt_ids, len(prompt_ids) + limit),
            torch.Generator(device=target.device).manual_seed(sampling.seed),
            needs_all_logits=bool(processors) or sampling.temperature > 0 or looks_at_logits,
            sampling=sampling,
            applied=model.applied(sampling),
            logprobs=None if request.logprobs is None else Logprobs(request.logprobs),
        )

    def emit(self, target: TargetLogits, verdict: Verdict) -> Chunk:
        """Return what a verdict adds to the output, given what it was made from."""
        chunk = self.output.add(verdict.emitted_ids)
        nodes = verdict.path[: len(chunk.token_ids)]  # a token was emitted after each
        if self.logprobs is not None:
            self.logprobs.add(target, nodes, chunk.token_ids)
        if self.request.watch is not None:
            self.request.watch(target, nodes)
        self.logits.extend(chunk.token_ids)
        return chunk


def _defaults_of(request: Request, config: RunConfig, defaults: ModelDefaults | None) -> ModelDefaults:
    """Return what a model's generation config asks for of a request that may leave it aside."""
    counts = request.generation_config or config.generation_config
    return ModelDefaults() if defaults is None or counts == "none" else defaults
