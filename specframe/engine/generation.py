"""What belongs to one request while it runs, and to no other."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.config import RunConfig
from specframe.engine.recorder import GenerationRecorder
from specframe.model.target import Target
from specframe.request.output import Output
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
        needs_all_logits: the target's first choices do not decide alone: it is sampled from, or logits are
            processed.
        recorder: its statistics.
    """

    request: Request
    prompt_ids: Tensor
    output: Output
    logits: LogitsProcessing
    generator: torch.Generator
    needs_all_logits: bool
    recorder: GenerationRecorder = attrs.field(factory=GenerationRecorder)

    @classmethod
    def of(cls, request: Request, target: Target, config: RunConfig) -> Generation:
        """Return the beginning of a generation.

        Raises:
            UsageError: the request is not allowed, or does not fit the target's positions.
        """
        prompt_ids, limit = fit(request, target, config)
        sampling = request.sampling or config.sampling
        processors = logits_processors(sampling, request.logits_processor)
        return cls(
            request,
            prompt_ids,
            Output(request, limit, target.tokenizer, frozenset() if request.ignore_eos else target.stop_ids),
            LogitsProcessing(processors, prompt_ids, len(prompt_ids) + limit),
            torch.Generator(device=target.device).manual_seed(sampling.seed),
            needs_all_logits=bool(processors) or sampling.temperature > 0,
        )
