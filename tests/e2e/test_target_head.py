"""A target head by exact screen changes no token."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import torch
from seven_prompts import SEVEN_PROMPTS
from tiny_engines import endless_target
from tiny_models import MODEL_TYPES

from specframe.config import AUTOREGRESSIVE, RunConfig
from specframe.engine.assembly import build_engine
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt

pytestmark = pytest.mark.numbers

PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11])


def screened(target: Target) -> Target:
    other = Target(target._loaded, head="exact-screen")
    other.stop_ids = target.stop_ids
    return other


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_greedy_output_is_that_of_the_full_product(model_type: str) -> None:
    target = endless_target(model_type)
    config = RunConfig(strategy="nanospec", drafter="lookup", dtype="float32", costs="off")
    expected = build_engine(config, target=target).generate(PROMPT, 60)
    found = build_engine(config, target=screened(target)).generate(PROMPT, 60)
    assert found.token_ids == expected.token_ids
    assert (expected.target_head, found.target_head) == ("full", "exact-screen")


@pytest.fixture(scope="module")
def smollm2_screened(smollm2: Target) -> Target:
    return screened(smollm2)


# Two of the seven: each takes a quarter of a minute.
@pytest.mark.parametrize("task", ["qa", "math_reasoning"])
def test_smollm2_writes_the_same_with_screens_on_both_sides(
    task: str, smollm2_screened: Target, smollm2_greedy: Callable[[torch.Tensor, int], list[int]]
) -> None:
    config = RunConfig(strategy="exact-screen", gather="torch", dtype="float32", costs="off")
    prompt_ids = encode_prompt(smollm2_screened.tokenizer, SEVEN_PROMPTS[task])
    report = build_engine(config, target=smollm2_screened).generate(prompt_ids, 64)
    assert report.token_ids == smollm2_greedy(prompt_ids, 64)
    assert report.target_head == "exact-screen"
    assert report.tau > 1.1, "the drafter hardly ever hits: this test would not see a wrong commit"


@pytest.mark.parametrize("settings", [{"temperature": 0.7}, {"repetition_penalty": 1.3}])
def test_where_all_logits_count_they_are_all_computed(settings: dict[str, float]) -> None:
    target = endless_target()
    config = RunConfig.of({"strategy": AUTOREGRESSIVE, "dtype": "float32", **settings})
    expected = build_engine(config, target=target).generate(PROMPT, 30)
    found = build_engine(config, target=screened(target)).generate(PROMPT, 30)
    assert found.token_ids == expected.token_ids
    assert found.target_head == "full"


def test_an_unknown_head_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"target head 'exact'.*exact-screen"):
        attrs.evolve(RunConfig(), target_head="exact")
