"""Steps that draft nothing, because a ``Worth`` says so: texts stay, and nothing is missing afterwards."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import Outcome, answer, drafting_in, engine
from prompts import random_prompts
from scripted import deciding, scripted

TOKENS = 24
AUTO = {"drafts": "auto"}


def draft_model(tiny: Path, **more: Any) -> dict[str, Any]:
    return {"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3} | more


@pytest.fixture(scope="module")
def undrafted(tiny: Path) -> Outcome:
    with engine(tiny) as llm:
        return answer(llm, random_prompts(), TOKENS)


@pytest.mark.parametrize("scheduling", [False, True], ids=["in turn", "ahead"])
@pytest.mark.parametrize(
    "settings",
    [
        AUTO | {"capacity": 256},
        AUTO | {"capacity": 256, "sets": "per_request"},
        AUTO | {"strategy": "lexicon", "capacity": 512},
    ],
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
        tiny, speculative_config=speculative, additional_config={"specframe": AUTO | {"capacity": 256}}
    ) as llm:
        scripted(llm, True, False, False)
        assert answer(llm, random_prompts(), TOKENS).token_ids == undrafted.token_ids


def test_an_undrafted_step_emits_a_token_of_each_request(tiny: Path) -> None:
    with engine(
        tiny, speculative_config=draft_model(tiny), additional_config={"specframe": AUTO | {"capacity": 256}}
    ) as llm:
        worth = scripted(llm, False)
        answer(llm, random_prompts(lengths=(5, 9)), TOKENS)
    assert {(requests, drafted, tokens) for requests, drafted, _, tokens in worth.samples} == {(2, False, 2)}


def test_what_undrafted_steps_emitted_is_active_when_drafting_goes_on(tiny: Path) -> None:
    with engine(
        tiny,
        speculative_config=draft_model(tiny),
        additional_config={"specframe": AUTO | {"capacity": 256, "use_extension": False, "core": 0}},
    ) as llm:
        scripted(llm, *[False] * 20, *[True] * 100)
        [text] = answer(llm, random_prompts(lengths=(5,)), TOKENS).token_ids
        drafting = drafting_in(llm)
        assert drafting is not None
        assert drafting.sets.stores[0].contains(torch.tensor(text[:20])).all()


@pytest.mark.parametrize(
    ("settings", "speculative"),
    [
        ({"drafts": "always"}, {}),
        (AUTO | {"strategy": "full"}, {}),
        (AUTO, {"num_speculative_tokens_per_batch_size": [[1, 2, 3], [3, 256, 0]]}),
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
        assert deciding(llm) is None
