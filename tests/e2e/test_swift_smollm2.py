"""SmolLM2 in float32, drafted by itself without parts of its layers, emits what transformers generates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from seven_prompts import SEVEN_PROMPTS
from torch import Tensor

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt

pytestmark = pytest.mark.numbers

NEW_TOKENS = 24
CHAIN = {"branching": 1, "depth": 4, "nodes": 5}


@pytest.mark.parametrize(("strategy", "tree"), [("full", CHAIN), ("nanospec", {})])
def test_the_output_is_the_targets(
    strategy: str, tree: dict[str, Any], smollm2: Target, smollm2_greedy: Callable[[Tensor, int], list[int]]
) -> None:
    options = {"drafter": {"skip": 0.06, "every": 8, "lookup": 0, **tree}}
    config = RunConfig(strategy=strategy, drafter="swift", dtype="float32", costs="off", options=options)
    prompt_ids = encode_prompt(smollm2.tokenizer, SEVEN_PROMPTS["qa"])
    report = build_engine(config, target=smollm2).generate(prompt_ids, NEW_TOKENS)
    assert report.token_ids == smollm2_greedy(prompt_ids, NEW_TOKENS)
    assert report.tau > 1.3, "hardly anything hit: this test would not see a wrong cache"
