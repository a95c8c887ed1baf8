"""SmolLM2 in float32: every strategy emits what transformers' greedy generate emits, id by id."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from seven_prompts import SEVEN_PROMPTS

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.model.rescoring import margins
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt

pytestmark = pytest.mark.numbers

# One long answer, and six of half its length.
NEW_TOKENS = {task: 128 if task == "code" else 64 for task in SEVEN_PROMPTS}
STRATEGIES = ("full", "static", "nanospec")


@pytest.fixture(scope="module")
def engines(smollm2: Target) -> dict[str, Engine]:
    # A chunk below most prompts, so that prefill in several chunks is the rule here.
    return {
        strategy: build_engine(
            RunConfig(strategy=strategy, dtype="float32", prefill_chunk=96), target=smollm2
        )
        for strategy in STRATEGIES
    }


@pytest.fixture
def reference(
    smollm2: Target, smollm2_greedy: Callable[[torch.Tensor, int], list[int]]
) -> Callable[[str], list[int]]:
    def generate(task: str) -> list[int]:
        return smollm2_greedy(encode_prompt(smollm2.tokenizer, SEVEN_PROMPTS[task]), NEW_TOKENS[task])

    return generate


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("task", SEVEN_PROMPTS)
def test_the_output_is_the_targets(
    task: str,
    strategy: str,
    smollm2: Target,
    engines: dict[str, Engine],
    reference: Callable[[str], list[int]],
) -> None:
    prompt_ids = encode_prompt(smollm2.tokenizer, SEVEN_PROMPTS[task])
    report = engines[strategy].generate(prompt_ids, NEW_TOKENS[task])
    assert report.token_ids == reference(task)
    assert report.tau > 1.1, "the drafter hardly ever hits: this test would not see a wrong commit"


def test_a_request_does_not_depend_on_the_one_before(
    smollm2: Target, engines: dict[str, Engine], reference: Callable[[str], list[int]]
) -> None:
    first, second = (
        encode_prompt(smollm2.tokenizer, SEVEN_PROMPTS[task]) for task in ("code", "translation")
    )
    engine = engines["nanospec"]
    one = [engine.generate(prompt, 24) for prompt in (first, second)]
    other = [engine.generate(prompt, 24) for prompt in (second, first)]
    keys = ("token_ids", "target_passes", "active_mean", "coverage", "accept_by_depth")
    seen = [[[getattr(report, key) for key in keys] for report in reports] for reports in (one, other[::-1])]
    assert seen[0] == seen[1], "the active set of one request leaks into the next"


@pytest.mark.parametrize("limit", [1, 2])
def test_very_short_outputs_are_exact(
    limit: int, engines: dict[str, Engine], smollm2: Target, reference: Callable[[str], list[int]]
) -> None:
    prompt_ids = encode_prompt(smollm2.tokenizer, SEVEN_PROMPTS["qa"])
    assert engines["nanospec"].generate(prompt_ids, limit).token_ids == reference("qa")[:limit]


def test_in_bfloat16_every_token_is_a_near_maximum_of_its_own_re_scoring(smollm2_bfloat16: Target) -> None:
    engine = build_engine(RunConfig(strategy="nanospec", dtype="bfloat16"), target=smollm2_bfloat16)
    prompt_ids = encode_prompt(smollm2_bfloat16.tokenizer, SEVEN_PROMPTS["math_reasoning"])
    token_ids = torch.tensor(engine.generate(prompt_ids, 64).token_ids)
    behind = margins(smollm2_bfloat16, prompt_ids, token_ids)
    # bfloat16 keeps 8 bits: logits near 20 are 0.125 apart, and two passes may round twice differently.
    assert behind.max() <= 0.5
    assert (behind > 0).float().mean() <= 0.1, "near-ties are meant to be rare"


def test_re_scoring_notices_a_token_that_the_target_would_not_emit(
    smollm2: Target, reference: Callable[[str], list[int]]
) -> None:
    prompt_ids = encode_prompt(smollm2.tokenizer, SEVEN_PROMPTS["qa"])
    right = torch.tensor(reference("qa")[:3])
    wrong = right.clone()
    wrong[1] = (wrong[1] + 1) % smollm2.vocab_size
    assert margins(smollm2, prompt_ids, right).max() == 0
    assert margins(smollm2, prompt_ids, wrong)[1] > 0
