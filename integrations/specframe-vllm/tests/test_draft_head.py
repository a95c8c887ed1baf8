"""A head that was exported drafts in vLLM what it drafts in specframe's own engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed")

from prometheus_client import REGISTRY

from specframe import RunConfig, build_engine
from specframe.cli.exporting import export_head
from specframe.model.loading import source_of

MODEL, CHAIN, TOKENS = "smollm2-135m", 3, 64
PROMPTS = (
    "Name the capital of Portugal.",
    "Write a Python function that returns the largest of three numbers.",
    "List three animals and say where each lives.",
    "Explain in three sentences how snow forms.",
    "A baker sells rolls at 2 dollars each. How much do 9 rolls cost? Show your steps.",
    "Translate into French: The dog waits at the door.",
    "Summarize: Trees take in carbon dioxide and water, and make sugar from them with the light of the sun.",
    "Write a short story about a clock that runs backwards.",
)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """SmolLM2 in vLLM, drafting with the head that ships over the full vocabulary."""
    from vllm import LLM

    head = tmp_path_factory.mktemp("export") / "head"
    export_head(MODEL, head, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield LLM(
            model=source_of(MODEL),
            dtype="float32",
            max_model_len=512,
            max_num_seqs=8,
            max_num_batched_tokens=64,  # prompts are read in chunks
            enforce_eager=True,
            disable_log_stats=False,
            seed=0,
            speculative_config={"method": "eagle", "model": str(head), "num_speculative_tokens": CHAIN},
        )


def passes() -> int:
    """How many drafts vLLM has verified in this process."""
    name = "vllm:spec_decode_num_drafts_total"
    return round(sum(s.value for family in REGISTRY.collect() for s in family.samples if s.name == name))


def answers(llm: Any, prompts: tuple[str, ...]) -> list[tuple[list[int], list[int]]]:
    """Ids of every prompt, and of its text."""
    from vllm import SamplingParams

    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    sampling = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    found = llm.chat(chats, sampling, use_tqdm=False)
    return [(list(one.prompt_token_ids), list(one.outputs[0].token_ids)) for one in found]


@pytest.fixture(scope="module")
def one_by_one(llm: Any) -> list[tuple[list[int], list[int], int]]:
    """Prompt, text and target passes of every prompt, one request at a time."""
    found = []
    for prompt in PROMPTS:
        before = passes()
        ((prompt_ids, text),) = answers(llm, (prompt,))
        found.append((prompt_ids, text, passes() - before))
    return found


@pytest.fixture(scope="module")
def in_specframe(one_by_one: list[tuple[list[int], list[int], int]]) -> list[tuple[list[int], int]]:
    """Text and target passes of the same prompts in specframe's engine, with chains of the same length."""
    config = RunConfig(
        model=MODEL,
        dtype="float32",
        strategy="full",
        costs="off",
        options={"drafter": {"depth": CHAIN, "branching": 1, "nodes": CHAIN + 1, "lookup": 0}},
    )
    engine = build_engine(config)
    reports = [engine.generate(prompt, TOKENS, ignore_eos=True) for prompt, _, _ in one_by_one]
    return [(list(report.token_ids), report.target_passes) for report in reports]


def test_the_texts_are_those_of_specframe(
    one_by_one: list[tuple[list[int], list[int], int]], in_specframe: list[tuple[list[int], int]]
) -> None:
    assert [text for _, text, _ in one_by_one] == [text for text, _ in in_specframe]


def test_every_prompt_takes_as_many_target_passes_as_in_specframe(
    one_by_one: list[tuple[list[int], list[int], int]], in_specframe: list[tuple[list[int], int]]
) -> None:
    assert [count for _, _, count in one_by_one] == [count for _, count in in_specframe]


@pytest.fixture(scope="module")
def at_once(llm: Any, one_by_one: list[tuple[list[int], list[int], int]]) -> tuple[list[list[int]], int]:
    """Texts of all prompts as one batch, and the drafts that it took; the caches begin empty."""
    llm.reset_prefix_cache()
    before = passes()
    texts = [text for _, text in answers(llm, PROMPTS)]
    return texts, passes() - before


def test_requests_of_a_batch_get_the_texts_that_they_get_alone(
    one_by_one: list[tuple[list[int], list[int], int]], at_once: tuple[list[list[int]], int]
) -> None:
    assert at_once[0] == [text for _, text, _ in one_by_one]


def test_requests_of_a_batch_draft_as_well_as_alone(
    one_by_one: list[tuple[list[int], list[int], int]], at_once: tuple[list[list[int]], int]
) -> None:
    # Beside chunks of a prompt vLLM's budget of tokens leaves some drafts shorter.
    assert at_once[1] <= 1.02 * sum(count for _, _, count in one_by_one)
