"""Two ranks, each with its own rows of the LM head, draft and answer as one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines import answer, engine
from processes import answer_in_a_process
from prompts import random_prompts

SERVED = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
TWO_RANKS = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}
TOKENS = 16


def test_two_ranks_draft_what_one_drafts(tiny: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "speculative_config": {"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3},
        # What a request drafts then depends on no other one, which may come sooner or later.
        "additional_config": {"specframe": {"capacity": 512, "sets": "per_request"}},
    }
    with engine(tiny) as llm:
        undrafted = answer(llm, random_prompts(), TOKENS)
    config: dict[str, Any] = {
        "model": str(tiny),
        "prompts": random_prompts(),
        "tokens": TOKENS,
        "alone": True,
        "arguments": arguments,
    }
    one = answer_in_a_process(tmp_path, SERVED, config)
    arguments["tensor_parallel_size"] = 2
    two = answer_in_a_process(tmp_path, SERVED | TWO_RANKS, config)
    assert one.token_ids == undrafted.token_ids
    assert two.token_ids == undrafted.token_ids
    assert "on 2 ranks" in two.log
    assert (two.drafts, two.accepted) == (one.drafts, one.accepted)
    for name in ("emitted_tokens_total", "covered_tokens_total", "oov_rejections_total", "active_tokens"):
        assert two.figures[f"specframe_{name}"] == one.figures[f"specframe_{name}"]
