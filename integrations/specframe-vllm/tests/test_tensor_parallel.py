"""Two ranks, each with its own rows of the LM head, draft and answer as one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from processes import ProcessOutcome, answer_in_a_process
from prompts import random_prompts

ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1"}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


def answered(scratch: Path, model: Path, **arguments: Any) -> ProcessOutcome:
    two = arguments.get("tensor_parallel_size") == 2
    config = {"model": str(model), "prompts": random_prompts(), "tokens": 16, "arguments": arguments}
    return answer_in_a_process(scratch, ENVIRONMENT if two else {}, config)


def test_two_ranks_draft_what_one_drafts(tiny: Path, scratch: Path) -> None:
    drafted = {
        "speculative_config": {"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3},
        "additional_config": {"specframe": {"capacity": 1000}},
    }
    alone = answered(scratch, tiny)
    one = answered(scratch, tiny, **drafted)
    two = answered(scratch, tiny, **drafted, tensor_parallel_size=2)
    assert one.token_ids == alone.token_ids
    assert two.token_ids == alone.token_ids
    assert "on 2 ranks" in two.log
    assert (two.drafts, two.accepted) == (one.drafts, one.accepted)
