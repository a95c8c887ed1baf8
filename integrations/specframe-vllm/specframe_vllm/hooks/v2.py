"""Model runner V2: what it samples, shown to ``ActiveDrafting`` before it drafts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from specframe.errors import UsageError
from specframe.ops.row_maxima import row_topk
from specframe_vllm.compatibility import FINISH_V2, LOAD_V2, REJECT_V2, SAMPLE_V2, SAMPLER_V2
from specframe_vllm.drafting import ActiveDrafting
from specframe_vllm.hooks.loading import attach, attached
from specframe_vllm.hooks.step import Step
from specframe_vllm.hooks.wrapping import wrap


class _Harvest:
    """What samplers are listened to for, while a model runner samples.

    Attributes:
        drafting: for whom; None while nobody listens.
        topk_ids: the target's top ids after each row of logits [N, k].
    """

    drafting: ActiveDrafting | None = None
    topk_ids: Tensor | None = None


# Samplers do not know their model runner; in a worker process one samples at a time.
_harvest = _Harvest()


def install() -> None:
    """Listen to speculators, to samplers and to the model runner."""
    wrap(LOAD_V2.find(), LOAD_V2.method, _load_model)
    wrap(FINISH_V2.find(), FINISH_V2.method, _finish_requests)
    wrap(SAMPLE_V2.find(), SAMPLE_V2.method, _sample)
    for point in (SAMPLER_V2, REJECT_V2):
        wrap(point.find(), point.method, _call_sampler)


def drafting_of(runner: Any) -> ActiveDrafting | None:
    """Return what drafts for a model runner; None where vLLM does so itself, or nothing drafts."""
    return attached(runner.speculator)


def _load_model(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    result = original(self, *args, **kwargs)
    drafting = attach(self)
    if drafting is not None:
        _refuse_what_does_not_go_together(self, drafting)
    return result


def _finish_requests(original: Callable[..., Any], self: Any, scheduler_output: Any) -> Any:
    """Forget the requests that are over or preempted."""
    drafting = drafting_of(self)
    if drafting is not None:
        drafting.begin_step(scheduler_output.num_spec_tokens_to_schedule)
        over = scheduler_output.finished_req_ids
        for request in (*over, *(scheduler_output.preempted_req_ids or ())):
            drafting.forget(request)
    return original(self, scheduler_output)


def _sample(
    original: Callable[..., Any],
    self: Any,
    hidden_states: Tensor,
    input_batch: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Learn from what is sampled; the next draft comes after."""
    drafting = drafting_of(self)
    if drafting is None:
        return original(self, hidden_states, input_batch, *args, **kwargs)
    _harvest.drafting, _harvest.topk_ids = drafting, None
    try:
        output, sampled, rejected = original(self, hidden_states, input_batch, *args, **kwargs)
    finally:
        _harvest.drafting = None
    with drafting.timed():
        _step(self, hidden_states, input_batch, output.sampled_token_ids, sampled).teach(drafting)
    return output, sampled, rejected


def _call_sampler(original: Callable[..., Any], self: Any, logits: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Look at the target's logits before they are changed in place."""
    drafting = _harvest.drafting
    if drafting is not None and drafting.harvest_topk:
        with drafting.timed():
            _harvest.topk_ids = row_topk(logits, drafting.harvest_topk)[1]
    return original(self, logits, *args, **kwargs)


def _step(runner: Any, hidden: Tensor, batch: Any, sampled_ids: Tensor, sampled: Tensor) -> Step:
    """Return a step as strategies see it.

    Args:
        runner: the model runner.
        hidden: the target's hidden states [tokens, H].
        batch: of the step.
        sampled_ids: what was sampled [B, D]; behind the first of them is anything.
        sampled: how many of each row count; 0 where the prompt goes on [B].
    """
    size = batch.num_reqs
    read = batch.num_computed_prefill_tokens_np[:size] + batch.num_scheduled_tokens[:size]
    lengths = batch.prefill_len_np[:size]
    unfinished = batch.is_prefilling_np[:size] & (read < lengths)
    rows = batch.idx_mapping_np[:size].tolist()
    width = torch.arange(sampled_ids.shape[1], device=sampled_ids.device)

    def prompt_ids(row: int) -> Tensor:
        # It may lie in memory of the host, which vLLM writes from kernels of this stream only.
        ids: Tensor = runner.req_states.all_token_ids.gpu[rows[row], : int(lengths[row])]
        return ids.long()

    return Step(
        requests=list(batch.req_ids[:size]),
        unfinished=unfinished.tolist(),
        computed=batch.num_scheduled_tokens[:size].tolist(),
        nodes=np.diff(batch.cu_num_logits_np[: size + 1]).tolist(),
        node_ids=batch.input_ids[batch.logits_indices].long(),
        emitted_ids=torch.where(width < sampled[:, None], sampled_ids, -1).long(),
        topk_ids=_harvest.topk_ids,
        hidden=hidden,
        prompt_ids=prompt_ids,
        compute_logits=runner.model.compute_logits,
    )


def _refuse_what_does_not_go_together(speculator: Any, drafting: ActiveDrafting) -> None:
    """Raise a ``UsageError`` for what would let ranks differ, or needs what is not computed any more."""
    config = speculator.vllm_config
    if config.parallel_config.enable_batch_sharded_sampling:
        raise UsageError(
            "sampling is split over the ranks, so that they would learn different tokens; allowed: "
            "enable_batch_sharded_sampling false"
        )
    if speculator.speculative_config.enable_adaptive_verification:
        raise UsageError("adaptive verification needs logits of the whole vocabulary; allowed: without it")
    if len(drafting.sets.stores) > 1 and not config.model_config.enforce_eager:
        raise UsageError(
            "a captured graph cannot know whose active set a row is drafted from; allowed: sets shared, or "
            "enforce_eager"
        )
