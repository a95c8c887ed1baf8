"""vLLM's second model runner, the default on GPUs; here Triton's interpreter runs its kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from processes import ProcessOutcome, answer_in_a_process
from prompts import random_prompts

INTERPRETED = {"TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("v2")


def answered(
    scratch: Path,
    environment: dict[str, str],
    model: Path,
    script: tuple[bool, ...] | None = None,
    **arguments: Any,
) -> ProcessOutcome:
    prompts = random_prompts(lengths=(5, 20, 1))
    config = {"model": str(model), "prompts": prompts, "tokens": 12, "arguments": arguments}
    if script is not None:
        config["script"] = script
    return answer_in_a_process(scratch, environment, config)


@pytest.fixture(scope="module")
def undrafted(scratch: Path, tiny: Path) -> ProcessOutcome:
    return answered(scratch, {}, tiny)


@pytest.mark.parametrize("sets", ["shared", "per_request"])
def test_greedy_answers_are_the_same(scratch: Path, tiny: Path, undrafted: ProcessOutcome, sets: str) -> None:
    found = answered(
        scratch,
        INTERPRETED,
        tiny,
        speculative_config={"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3},
        additional_config={"specframe": {"capacity": 512, "sets": sets}},
    )
    assert found.token_ids == undrafted.token_ids
    assert found.accepted > 0
    assert found.figures["specframe_target_passes_total"] > 0


def test_undrafted_steps_change_no_text(scratch: Path, tiny: Path, undrafted: ProcessOutcome) -> None:
    found = answered(
        scratch,
        INTERPRETED,
        tiny,
        (True, True, False, False),
        speculative_config={"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3},
        additional_config={"specframe": {"capacity": 512, "drafts": "auto"}},
    )
    assert found.token_ids == undrafted.token_ids
    assert found.accepted > 0
