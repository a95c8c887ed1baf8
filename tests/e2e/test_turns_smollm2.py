"""A conversation with SmolLM2 in float32: every turn is what transformers generates for the whole of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.engine.conversation import Conversation
from specframe.model.target import Target
from specframe.request.prompts import encode_messages

pytestmark = pytest.mark.numbers

TURNS = ("What is a lighthouse for?", "And a foghorn? Answer in one sentence.", "Which of them is older?")


@pytest.mark.parametrize("keep", [False, True])
def test_every_turn_is_the_targets(
    keep: bool, smollm2: Target, smollm2_greedy: Callable[[Tensor, int], list[int]]
) -> None:
    options = {"vocabulary": {"keep_between_turns": keep}}
    engine = build_engine(RunConfig(dtype="float32", options=options), target=smollm2)
    conversation = Conversation(engine, "You are a keeper of lighthouses.", max_new_tokens=40)
    for text in TURNS:
        report = conversation.say(text)
        prompt_ids = encode_messages(smollm2.tokenizer, conversation.messages[:-1])
        assert report.token_ids == smollm2_greedy(prompt_ids, 40)
        assert report.tau > 1.1, "the drafter hardly ever hits: this test would not see a wrong cache"
    assert report.kept_tokens > 0.4 * report.prompt_tokens
