"""Hundreds of short requests, some of them given up, get the texts that they get without drafts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from engines import drafting_in, engine
from tiny_checkpoints import VOCAB_SIZE
from vllm import LLM, SamplingParams

from specframe_vllm.active_sets import SetPerRequest

REQUESTS, BATCH, LONGEST = 300, 32, 12
ABORTED = 0.2


def prompts() -> list[list[int]]:
    source = random.Random(5)
    return [
        [source.randrange(3, VOCAB_SIZE) for _ in range(source.randrange(1, 20))] for _ in range(REQUESTS)
    ]


def texts(llm: LLM, abort_share: float) -> dict[int, list[int]]:
    """Return the texts of the requests that were not given up; they come and go at random moments."""
    source = random.Random(6)
    asked = list(enumerate(prompts()))
    lengths = [source.randrange(1, LONGEST) for _ in asked]
    found: dict[int, list[int]] = {}
    running: set[str] = set()
    while asked or running:
        while asked and len(running) < 2 * BATCH and source.random() < 0.9:
            number, prompt = asked.pop()
            sampling = SamplingParams(temperature=0, max_tokens=lengths[number], ignore_eos=True)
            llm.llm_engine.add_request(str(number), {"prompt_token_ids": prompt}, sampling)
            running.add(str(number))
        for output in llm.llm_engine.step():
            if output.finished and output.request_id in running:
                running.discard(output.request_id)
                found[int(output.request_id)] = list(output.outputs[0].token_ids)
        if running and source.random() < abort_share:
            given_up = source.choice(sorted(running))
            llm.llm_engine.abort_request([given_up])
            running.discard(given_up)
    return found


@pytest.fixture(scope="module")
def undrafted(tiny: Path) -> dict[int, list[int]]:
    with engine(tiny, max_num_seqs=BATCH) as llm:
        return texts(llm, 0)


@pytest.mark.parametrize("settings", [{}, {"sets": "per_request"}], ids=["shared", "per request"])
def test_texts_stay_the_same_and_nothing_is_left(
    tiny: Path, undrafted: dict[int, list[int]], settings: dict[str, Any]
) -> None:
    with engine(
        tiny,
        max_num_seqs=BATCH,
        speculative_config={"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3},
        additional_config={"specframe": {"capacity": 512} | settings},
    ) as llm:
        found = texts(llm, ABORTED)
        # The model runner is told of requests that are over with the next step, so one more is left of these.
        llm.generate([{"prompt_token_ids": [5]}], SamplingParams(temperature=0, max_tokens=1), use_tqdm=False)
        drafting = drafting_in(llm)
        assert drafting is not None
        assert drafting.failure is None
        assert drafting.running <= 1
        if isinstance(drafting.sets, SetPerRequest):
            assert drafting.sets.room >= BATCH - 1
    assert REQUESTS // 2 < len(found) < REQUESTS
    assert found == {number: undrafted[number] for number in found}
