"""Greedy answers of a tiny random model are the same with every way to draft."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from engines import Outcome, answer, drafting_in, engine
from processes import answer_in_a_process
from prompts import random_prompts
from torch import Tensor
from vllm import SamplingParams

from specframe_vllm.strategies import BatchedStrategy, TargetPasses

TOKENS = 24


def answered(model: Path, **arguments: Any) -> Outcome:
    with engine(model, **arguments) as llm:
        return answer(llm, random_prompts(), TOKENS)


@pytest.fixture(scope="module")
def undrafted(tiny: Path) -> Outcome:
    return answered(tiny)


def draft_model(tiny: Path) -> dict[str, Any]:
    return {"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3}


def eagle3(head: Path) -> dict[str, Any]:
    return {"method": "eagle3", "model": str(head), "num_speculative_tokens": 3}


@pytest.mark.parametrize(
    "settings",
    [
        {"capacity": 256},
        {"capacity": 256, "sets": "per_request"},
        {"strategy": "lexicon", "capacity": 512},
    ],
    ids=["shared", "per request", "a stranger's strategy"],
)
def test_a_draft_model(tiny: Path, undrafted: Outcome, settings: dict[str, Any]) -> None:
    found = answered(tiny, speculative_config=draft_model(tiny), additional_config={"specframe": settings})
    assert found.token_ids == undrafted.token_ids
    assert found.head_calls > 0
    assert found.accepted > 0


def test_a_strategy_that_fails_ends_learning_and_nothing_else(
    tiny: Path, undrafted: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: BatchedStrategy, passes: TargetPasses) -> Tensor:
        raise RuntimeError("no idea what that was")

    monkeypatch.setattr(BatchedStrategy, "observe_together", fail)
    # Requests of other lengths, two at once: new ones join those that have learnt.
    lengths = [TOKENS - 3 * (row % 4) for row in range(len(random_prompts()))]
    sampling = [SamplingParams(temperature=0, max_tokens=count, ignore_eos=True) for count in lengths]
    arguments = {"specframe": {"capacity": 256}}
    with engine(
        tiny, speculative_config=draft_model(tiny), additional_config=arguments, max_num_seqs=2
    ) as llm:
        outputs = llm.generate(random_prompts(), sampling, use_tqdm=False)
        drafting = drafting_in(llm)
        assert drafting is not None
        assert "no idea what that was" in str(drafting.failure)
    texts = [list(output.outputs[0].token_ids) for output in outputs]
    assert texts == [ids[:count] for ids, count in zip(undrafted.token_ids, lengths, strict=True)]


def test_eagle3_with_a_draft_vocabulary(tiny: Path, tiny_eagle3: Path, undrafted: Outcome) -> None:
    found = answered(
        tiny, speculative_config=eagle3(tiny_eagle3), additional_config={"specframe": {"capacity": 256}}
    )
    assert found.token_ids == undrafted.token_ids
    assert found.head_calls > 0


MTP = {"method": "mtp", "num_speculative_tokens": 2}


@pytest.fixture(scope="module")
def mtp_without(tiny_mimo: Path) -> Outcome:
    return answered(tiny_mimo, speculative_config=MTP)


@pytest.mark.parametrize("sets", ["shared", "per_request"])
def test_mtp_layers(tiny_mimo: Path, mtp_without: Outcome, sets: str) -> None:
    settings = {"capacity": 256, "sets": sets}
    found = answered(tiny_mimo, speculative_config=MTP, additional_config={"specframe": settings})
    assert found.token_ids == mtp_without.token_ids
    assert found.head_calls > 0
    assert found.accepted > 0
    assert found.active is not None
    assert found.active > 3  # the pinned tokens, and what was admitted


def test_mtp_layers_answer_as_without_drafts(undrafted: Outcome, mtp_without: Outcome) -> None:
    assert mtp_without.token_ids == undrafted.token_ids


def test_a_model_without_a_tokenizer(tiny: Path, undrafted: Outcome, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny, bare, ignore=shutil.ignore_patterns("tokenizer*", "special_tokens*"))
    found = answered(
        bare,
        skip_tokenizer_init=True,
        speculative_config=draft_model(bare),
        additional_config={"specframe": {"capacity": 256}},
    )
    assert found.token_ids == undrafted.token_ids
    assert found.accepted > 0


def test_prompt_lookup_stays_what_it_is(tiny: Path, undrafted: Outcome, tmp_path: Path) -> None:
    arguments = {
        "speculative_config": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3},
        "additional_config": {"specframe": {"capacity": 256}},
    }
    config = {"model": str(tiny), "prompts": random_prompts(), "tokens": TOKENS, "arguments": arguments}
    # In a process of its own: where vLLM has looked a prompt up, it starts no other engine.
    found = answer_in_a_process(tmp_path, {}, config)
    assert found.token_ids == undrafted.token_ids
    assert found.drafts > 0
    assert found.figures == {}


def test_without_settings_nothing_changes(tiny: Path, undrafted: Outcome) -> None:
    found = answered(tiny, speculative_config=draft_model(tiny))
    assert found.token_ids == undrafted.token_ids
    assert found.figures is None


def test_the_full_vocabulary_is_left_to_vllm(tiny: Path, undrafted: Outcome) -> None:
    found = answered(
        tiny, speculative_config=draft_model(tiny), additional_config={"specframe": {"strategy": "full"}}
    )
    assert found.token_ids == undrafted.token_ids
    assert found.figures is None


def test_batches_that_vllm_leaves_undrafted_have_the_same_texts(tiny: Path, undrafted: Outcome) -> None:
    speculative = draft_model(tiny) | {"num_speculative_tokens_per_batch_size": [[1, 1, 3], [2, 256, 0]]}
    found = answered(tiny, speculative_config=speculative, additional_config={"specframe": {"capacity": 256}})
    always = answered(
        tiny, speculative_config=draft_model(tiny), additional_config={"specframe": {"capacity": 256}}
    )
    assert found.token_ids == undrafted.token_ids
    assert found.drafts < always.drafts


def test_prompts_in_chunks_with_a_prefix_cache(tiny: Path, undrafted: Outcome) -> None:
    with engine(
        tiny,
        speculative_config=draft_model(tiny),
        additional_config={"specframe": {"capacity": 256, "sets": "per_request"}},
        enable_prefix_caching=True,
        max_num_batched_tokens=64,
    ) as llm:
        first, again = (answer(llm, random_prompts(), TOKENS).token_ids for _ in range(2))
    assert first == undrafted.token_ids
    assert again == undrafted.token_ids
