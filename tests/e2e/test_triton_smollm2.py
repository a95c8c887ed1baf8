"""SmolLM2 with the Triton backends: whatever the interpreter computes, drafting goes as with ``torch``."""

from __future__ import annotations

import pytest
from kernel_device import DEVICE, NOT_INTERPRETED
from seven_prompts import SEVEN_PROMPTS

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt

KEYS = ("token_ids", "target_passes", "active_mean", "coverage", "accept_by_depth")


@pytest.mark.skipif(DEVICE != "cpu", reason=NOT_INTERPRETED)
@pytest.mark.parametrize("gather", ["triton", "triton-indexed"])
def test_a_few_tokens_are_drafted_as_with_torch(smollm2: Target, gather: str) -> None:
    prompt_ids = encode_prompt(smollm2.tokenizer, SEVEN_PROMPTS["qa"])
    expected, report = (
        build_engine(RunConfig(dtype="float32", gather=name), target=smollm2).generate(prompt_ids, 5)
        for name in ("torch", gather)
    )
    assert report.gather == gather
    assert [getattr(report, key) for key in KEYS] == [getattr(expected, key) for key in KEYS]
