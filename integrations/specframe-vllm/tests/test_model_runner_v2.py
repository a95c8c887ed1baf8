"""vLLM's second model runner, the default on GPUs; here Triton's interpreter runs its kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distributions import PROMPT, TEMPERATURE, is_far, second_token
from processes import ProcessOutcome, answer_in_a_process
from prompts import random_prompts

# With so many samples a distribution that is 0.2 away in total variation fails almost always.
SAMPLES = 400
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


@pytest.mark.parametrize("method", ["eagle3", "mtp"])
def test_heads_that_read_the_targets_features(
    scratch: Path, tiny: Path, tiny_mimo: Path, tiny_eagle3: Path, undrafted: ProcessOutcome, method: str
) -> None:
    target, speculative = tiny, {"method": "eagle3", "model": str(tiny_eagle3), "num_speculative_tokens": 3}
    if method == "mtp":
        target, speculative = tiny_mimo, {"method": "mtp", "num_speculative_tokens": 2}
    found = answered(
        scratch,
        INTERPRETED,
        target,
        speculative_config=speculative,
        additional_config={"specframe": {"capacity": 512}},
    )
    assert found.token_ids == undrafted.token_ids
    assert found.drafts > 0
    assert found.figures["specframe_target_passes_total"] > 0


def test_sampled_tokens_have_the_targets_distribution(scratch: Path, tiny: Path) -> None:
    # Drafts are the most likely tokens: the interpreter does not run vLLM's kernels for drawn ones.
    config = {
        "model": str(tiny),
        "prompts": [{"prompt_token_ids": PROMPT}],
        "tokens": 2,
        "sampling": {"temperature": TEMPERATURE, "n": SAMPLES, "seed": 11},
        "arguments": {
            "max_num_seqs": 64,
            "speculative_config": {
                "method": "draft_model",
                "model": str(tiny),
                "num_speculative_tokens": 1,
                "draft_sample_method": "greedy",
            },
            "additional_config": {"specframe": {"capacity": 256}},
        },
    }
    found = answer_in_a_process(scratch, INTERPRETED, config)
    assert found.figures["specframe_target_passes_total"] == SAMPLES
    assert found.accepted > 0
    assert not is_far([token_ids[1] for token_ids in found.token_ids], second_token(tiny))


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
