"""Model runner V1: what it samples, shown to ``ActiveDrafting`` before it drafts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from specframe.ops.row_maxima import row_topk
from specframe_vllm.compatibility import LOAD, PROPOSE, SAMPLE, UPDATE
from specframe_vllm.draft_head.layer import filling_only
from specframe_vllm.drafting import ActiveDrafting
from specframe_vllm.hooks.loading import attach, attached
from specframe_vllm.hooks.step import Step
from specframe_vllm.hooks.wrapping import wrap
from specframe_vllm.staging import to_device

# By model runner: the target's top ids after each row of the step's logits [N, k].
_topk: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()


def install() -> None:
    """Listen to proposers and to the model runner."""
    wrap(LOAD.find(), LOAD.method, _load_model)
    wrap(UPDATE.find(), UPDATE.method, _update_states)
    wrap(SAMPLE.find(), SAMPLE.method, _sample)
    wrap(PROPOSE.find(), PROPOSE.method, _propose)


def drafting_of(runner: Any) -> ActiveDrafting | None:
    """Return what drafts for a model runner; None where vLLM does so itself, or nothing drafts."""
    return attached(getattr(runner, "drafter", None))


def _load_model(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    result = original(self, *args, **kwargs)
    attach(self)
    return result


def _update_states(original: Callable[..., Any], self: Any, scheduler_output: Any) -> Any:
    """Forget the requests that are over or start again, in steps that compute nothing too."""
    drafting = drafting_of(self)
    if drafting is not None:
        drafting.begin_step(scheduler_output.num_spec_tokens_to_schedule)
        over = scheduler_output.finished_req_ids
        again = scheduler_output.scheduled_cached_reqs.resumed_req_ids
        for request in (*over, *again):
            drafting.forget(request)
    return original(self, scheduler_output)


def _sample(original: Callable[..., Any], self: Any, logits: Any, *args: Any, **kwargs: Any) -> Any:
    """Look at the target's logits before the sampler changes them in place."""
    drafting = drafting_of(self)
    _topk.pop(self, None)  # of a step that was not learnt from
    if drafting is not None and drafting.harvest_topk:
        with drafting.timed():
            _topk[self] = row_topk(logits, drafting.harvest_topk)[1]
    return original(self, logits, *args, **kwargs)


def _propose(
    original: Callable[..., Any],
    self: Any,
    scheduler_output: Any,
    sampled_token_ids: Tensor | list[list[int]],
    sampling_metadata: Any,
    hidden_states: Tensor,
    sample_hidden_states: Tensor,
    aux_hidden_states: Any,
    spec_decode_metadata: Any,
    common_attn_metadata: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Learn from the step, and draft then."""
    drafting = drafting_of(self)
    if drafting is not None:
        with drafting.timed():
            _step(
                self,
                scheduler_output,
                sampled_token_ids,
                hidden_states,
                spec_decode_metadata,
                common_attn_metadata.query_start_loc,
            ).teach(drafting)
    # vLLM runs the draft model in steps that draft nothing too, to have no holes in its cache.
    nothing = drafting is not None and scheduler_output.num_spec_tokens_to_schedule == 0
    with filling_only(self.drafter.model) if nothing else nullcontext():
        return original(
            self,
            scheduler_output,
            sampled_token_ids,
            sampling_metadata,
            hidden_states,
            sample_hidden_states,
            aux_hidden_states,
            spec_decode_metadata,
            common_attn_metadata,
            *args,
            **kwargs,
        )


def _step(
    runner: Any,
    scheduler_output: Any,
    sampled: Tensor | list[list[int]],
    hidden: Tensor,
    metadata: Any,
    query_starts: Tensor,
) -> Step:
    """Return a step as strategies see it.

    Args:
        runner: the model runner.
        scheduler_output: of the step.
        sampled: what was sampled, rejected drafts as -1 [B, D] int32; or lists of what was emitted.
        hidden: the target's hidden states [tokens, H].
        metadata: of the step's drafts; None where there were none.
        query_starts: where the tokens of each request start, and the end [B + 1, or more].
    """
    batch = runner.input_batch
    size = batch.num_reqs
    requests: list[str] = list(batch.req_ids[:size])
    computed = [scheduler_output.num_scheduled_tokens[request] for request in requests]
    before = batch.num_computed_tokens_cpu[:size].tolist()
    drafted = [0] * size if metadata is None else metadata.num_draft_tokens
    at = query_starts[1 : size + 1] - 1 if metadata is None else metadata.logits_indices
    node_ids = runner.input_ids.gpu[at].long()
    device, vocab_size = node_ids.device, runner.model_config.get_vocab_size()

    def prompt_ids(row: int) -> Tensor:
        # A copy, since vLLM goes on writing. A position given by its embedding has no id of the vocabulary.
        ids = batch.token_ids_cpu[row, : before[row] + computed[row]]
        known = ids[(ids >= 0) & (ids < vocab_size)]
        return to_device(torch.from_numpy(known.astype(np.int64)), device)

    return Step(
        requests=requests,
        unfinished=runner.discard_request_mask.np[:size].tolist(),
        computed=computed,
        nodes=[count + 1 for count in drafted],
        node_ids=node_ids,
        emitted_ids=_padded(sampled, device),
        topk_ids=_topk.pop(runner, None),
        hidden=hidden,
        prompt_ids=prompt_ids,
        compute_logits=runner.model.compute_logits,
    )


def _padded(sampled: Tensor | list[list[int]], device: torch.device) -> Tensor:
    """Return what each request emitted [B, D] int64, -1 for none."""
    if isinstance(sampled, Tensor):
        return sampled.long()
    width = max(map(len, sampled), default=0)
    rows = [ids + [-1] * (width - len(ids)) for ids in sampled]
    return to_device(torch.tensor(rows, dtype=torch.int64).view(len(rows), width), device)
