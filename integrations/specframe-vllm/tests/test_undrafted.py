"""Steps that draft nothing, because a ``Worth`` says so: the same texts, and drafting goes on as if nothing was."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from engines import Outcome, answer, drafting_in, engine
from prompts import random_prompts
from vllm import LLM

from specframe_vllm.hooks import v1
from specframe_vllm.hooks.scheduler import DraftsByWorth, deciding_in
from specframe_vllm.worth import Judgement, Worth

TOKENS = 24


class Scripted(Worth):
    """Says what it was told to, and notes what it learns.

    Args:
        script: one answer after the other, again and again.
    """

    def __init__(self, *script: bool) -> None:
        super().__init__()
        self._script = script
        self.samples: list[tuple[int, bool, float, int]] = []

    def drafts(self, requests: int) -> bool:
        drafted = self._script[self.steps % len(self._script)]
        self.steps += 1
        return drafted

    def took(self, requests: int, drafted: bool, seconds: float, tokens: int) -> Judgement | None:
        self.samples.append((requests, drafted, seconds, tokens))
        return None


def deciding(llm: LLM) -> DraftsByWorth:
    found = deciding_in(llm.llm_engine.engine_core.engine_core.scheduler)
    assert found is not None
    return found


def scripted(llm: LLM, *script: bool) -> Scripted:
    """Have an engine draft as a script says."""
    worth = deciding(llm).worth = Scripted(*script)
    return worth


def draft_model(tiny: Path, **more: Any) -> dict[str, Any]:
    return {"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3} | more


@pytest.fixture(scope="module")
def undrafted(tiny: Path) -> Outcome:
    with engine(tiny) as llm:
        return answer(llm, random_prompts(), TOKENS)


@pytest.mark.parametrize("scheduling", [False, True], ids=["in turn", "ahead"])
@pytest.mark.parametrize(
    "settings",
    [{"capacity": 256}, {"capacity": 256, "sets": "per_request"}, {"strategy": "lexicon", "capacity": 512}],
    ids=["shared", "per request", "a stranger's strategy"],
)
def test_texts_stay_the_same_whatever_is_decided(
    tiny: Path, undrafted: Outcome, settings: dict[str, Any], scheduling: bool
) -> None:
    source = random.Random(1)
    with engine(
        tiny,
        speculative_config=draft_model(tiny),
        additional_config={"specframe": settings},
        async_scheduling=scheduling,
    ) as llm:
        worth = scripted(llm, *(source.random() < 0.6 for _ in range(37)))
        found = answer(llm, random_prompts(), TOKENS)
    assert found.token_ids == undrafted.token_ids
    assert found.accepted > 0
    assert {drafted for _, drafted, *_ in worth.samples} == {True, False}


def test_eagle3_texts_stay_the_same(tiny: Path, tiny_eagle3: Path, undrafted: Outcome) -> None:
    speculative = {"method": "eagle3", "model": str(tiny_eagle3), "num_speculative_tokens": 3}
    with engine(
        tiny, speculative_config=speculative, additional_config={"specframe": {"capacity": 256}}
    ) as llm:
        scripted(llm, True, False, False)
        assert answer(llm, random_prompts(), TOKENS).token_ids == undrafted.token_ids


def test_an_undrafted_step_emits_a_token_of_each_request(tiny: Path) -> None:
    with engine(
        tiny, speculative_config=draft_model(tiny), additional_config={"specframe": {"capacity": 256}}
    ) as llm:
        worth = scripted(llm, False)
        answer(llm, random_prompts(lengths=(5, 9)), TOKENS)
    assert {(requests, drafted, tokens) for requests, drafted, _, tokens in worth.samples} == {(2, False, 2)}


def test_what_undrafted_steps_emitted_is_active_when_drafting_goes_on(tiny: Path) -> None:
    with engine(
        tiny,
        speculative_config=draft_model(tiny),
        additional_config={"specframe": {"capacity": 256, "use_extension": False, "core": 0}},
    ) as llm:
        scripted(llm, *[False] * 20, *[True] * 100)
        [text] = answer(llm, random_prompts(lengths=(5,)), TOKENS).token_ids
        drafting = drafting_in(llm)
        assert drafting is not None
        import torch

        assert drafting.sets.stores[0].contains(torch.tensor(text[:20])).all()


@pytest.mark.parametrize(
    ("settings", "speculative"),
    [
        ({"drafts": "always"}, {}),
        ({"strategy": "full"}, {}),
        ({}, {"num_speculative_tokens_per_batch_size": [[1, 2, 3], [3, 256, 0]]}),
    ],
    ids=["always", "full", "the user's own table"],
)
def test_nothing_is_decided_where_nobody_asked_for_it(
    tiny: Path, settings: dict[str, Any], speculative: dict[str, Any]
) -> None:
    with engine(
        tiny,
        speculative_config=draft_model(tiny, **speculative),
        additional_config={"specframe": settings},
    ) as llm:
        assert deciding_in(llm.llm_engine.engine_core.engine_core.scheduler) is None
