"""Sampled tokens are distributed as the target's, whatever the active set leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributions import PROMPT, TEMPERATURE, is_far, second_token
from engines import drafting_in, engine
from vllm import SamplingParams

# With so many samples a distribution that is 0.1 away in total variation fails almost always.
SAMPLES = 3000


@pytest.mark.parametrize("drafts", ["greedy", "probabilistic"])
def test_the_first_drafted_token_has_the_targets_distribution(tiny: Path, drafts: str) -> None:
    with engine(
        tiny,
        max_num_seqs=64,
        speculative_config={
            "method": "draft_model",
            "model": str(tiny),
            "num_speculative_tokens": 3,
            "draft_sample_method": drafts,
        },
        additional_config={"specframe": {"capacity": 256}},
    ) as llm:
        sampling = SamplingParams(temperature=TEMPERATURE, n=SAMPLES, max_tokens=4, ignore_eos=True, seed=11)
        [output] = llm.generate([{"prompt_token_ids": PROMPT}], sampling, use_tqdm=False)
        drafting = drafting_in(llm)
    assert drafting is not None
    assert drafting.head.calls > 0
    assert not is_far([answer.token_ids[1] for answer in output.outputs], second_token(tiny))
