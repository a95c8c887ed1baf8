"""Engines of vLLM in this process: made, asked once, and taken down."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from vllm import LLM, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory

from specframe_vllm.drafting import ActiveDrafting
from specframe_vllm.figures import Figures
from specframe_vllm.hooks.v1 import drafting_of


@attrs.frozen
class Outcome:
    """What an engine answered.

    Attributes:
        token_ids: of each prompt's answer.
        drafts: how many chains were verified.
        accepted: drafted tokens that were accepted.
        figures: of the plugin; None without it.
        head_calls: how often the drafting head was asked.
        active: tokens in the active sets at the end, the largest; None without them.
    """

    token_ids: list[list[int]]
    drafts: int
    accepted: int
    figures: Figures | None
    head_calls: int
    active: int | None


@contextmanager
def engine(model: Path, **arguments: Any) -> Iterator[LLM]:
    """Have an engine, float32 and without compilation unless ``arguments`` say otherwise.

    It always drafts unless the plugin's settings say otherwise: how fast a machine is decides no test.
    """
    defaults: dict[str, Any] = {
        "dtype": "float32",
        "max_model_len": 512,
        "max_num_seqs": 4,
        "max_num_batched_tokens": 512,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "disable_log_stats": False,
        "seed": 0,
    }
    settings = arguments.get("additional_config", {}).get("specframe")
    if settings is not None:
        arguments |= {"additional_config": {"specframe": {"drafts": "always"} | settings}}
    llm = LLM(str(model), **(defaults | arguments))
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        cleanup_dist_env_and_memory()


def drafting_in(llm: LLM) -> ActiveDrafting | None:
    """Return what drafts in an engine of this process."""
    worker = llm.llm_engine.model_executor.driver_worker.worker
    return drafting_of(worker.model_runner)


def answer(llm: LLM, prompts: Sequence[Any], tokens: int, batch: int | None = None) -> Outcome:
    """Answer prompts greedily, so many at once; all at once where that is not said."""
    sampling = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
    outputs = []
    for start in range(0, len(prompts), batch or len(prompts)):
        part = list(prompts[start : start + (batch or len(prompts))])
        ask = llm.chat if isinstance(part[0], list) else llm.generate
        outputs += ask(part, sampling, use_tqdm=False)
    counts = {metric.name: getattr(metric, "value", 0) for metric in llm.get_metrics()}
    drafting = drafting_in(llm)
    assert drafting is None or drafting.failure is None, drafting.failure
    return Outcome(
        token_ids=[list(output.outputs[0].token_ids) for output in outputs],
        drafts=int(counts.get("vllm:spec_decode_num_drafts", 0)),
        accepted=int(counts.get("vllm:spec_decode_num_accepted_tokens", 0)),
        figures=None if drafting is None else drafting.figures,
        head_calls=0 if drafting is None else drafting.head.calls,
        active=None if drafting is None else max(int(s.active_size) for s in drafting.sets.stores),
    )
