"""Turns of a conversation go on from the one before, and answer as if everything had been read anew."""

from __future__ import annotations

import itertools

import attrs
import pytest
import torch
from said_turns import TURNS, converse, expected
from tiny_engines import (
    PROMPT,
    autoregressive_engine,
    drafting_engine,
    eagle,
    endless_target,
    nanospec,
    repetitive_target,
)
from tiny_models import MODEL_TYPES, reference_greedy

from specframe.engine.conversation import Conversation
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError, UsageError
from specframe.model.target import Target
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.sources.drafter import SourceDrafter


@pytest.fixture(scope="module", params=MODEL_TYPES)
def target(request: pytest.FixtureRequest) -> Target:
    return endless_target(request.param)


@pytest.fixture
def llama() -> Target:
    return endless_target()


def over_eagle(target: Target) -> SourceDrafter:
    return SourceDrafter([LookupSource(32)], 32, eagle(target))


@pytest.mark.parametrize("keep", [False, True])
def test_every_turn_answers_as_a_fresh_request_does(target: Target, keep: bool) -> None:
    engine = drafting_engine(target, strategy=nanospec(target, keep_between_turns=keep))
    reports = converse(engine)
    assert [report.token_ids for report in reports] == expected(target)
    assert reports[-1].kept_tokens > len(PROMPT), "nothing was kept: this test would not see a wrong cache"


def test_turns_without_a_drafter_answer_as_fresh_requests_do(target: Target) -> None:
    reports = converse(autoregressive_engine(target))
    assert [report.token_ids for report in reports] == expected(target)
    assert reports[-1].kept_tokens > len(PROMPT)


def test_the_statistics_of_a_turn_are_those_of_a_fresh_request(llama: Target) -> None:
    engine, other, key, said = drafting_engine(llama), endless_target(), object(), [*PROMPT]
    names = ("token_ids", "target_passes", "accept_by_depth", "active_mean", "coverage")
    for turn in TURNS:
        said += turn
        carried = engine.generate(said, 10, turn_of=key)
        fresh = drafting_engine(other).generate(said, 10)
        assert [getattr(carried, name) for name in names] == [getattr(fresh, name) for name in names]
        said += carried.token_ids
    assert carried.kept_tokens


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_turns_that_copy_what_was_said_answer_as_fresh_requests_do(model_type: str) -> None:
    target = repetitive_target(model_type)
    reports = converse(drafting_engine(target, drafter=over_eagle(target)))
    assert [report.token_ids for report in reports] == expected(target)
    assert reports[-1].kept_tokens > len(PROMPT)


def test_a_turn_copies_from_all_that_was_said_before() -> None:
    target, other, key = repetitive_target(), repetitive_target(), object()
    engine, said = (
        drafting_engine(target, drafter=over_eagle(target)),
        [*PROMPT],
    )
    names = ("token_ids", "target_passes", "accept_by_depth", "active_mean", "coverage")
    for turn in TURNS:
        said += turn
        carried = engine.generate(said, 10, turn_of=key)
        fresh = drafting_engine(other, drafter=over_eagle(other)).generate(said, 10)
        assert [getattr(carried, name) for name in names] == [getattr(fresh, name) for name in names]
        said += carried.token_ids
    assert carried.kept_tokens
    assert len(carried.accept_by_depth) > 3, "deeper than the trees of the head: something was copied"


def test_a_strategy_may_keep_the_active_set_between_turns(llama: Target) -> None:
    engines = [
        drafting_engine(llama, strategy=nanospec(llama, capacity=90, keep_between_turns=keep))
        for keep in (False, True)
    ]
    # The second turn says something else than the first, of which only the active set tells.
    afresh, kept = (converse(engine, ([9], [10]), (20, 2))[-1] for engine in engines)
    assert kept.active_mean > afresh.active_mean
    assert kept.token_ids == afresh.token_ids


@pytest.mark.parametrize("changed", [0, 1, 10, 11, 12, 15, 17])
def test_earlier_text_in_other_tokens_is_read_anew(llama: Target, changed: int) -> None:
    engine, key = drafting_engine(llama), object()
    first = engine.generate(PROMPT, 8, turn_of=key)
    said = [*PROMPT, *first.token_ids, 50, 51]
    said[changed] = (said[changed] + 1) % 101
    report = engine.generate(said, 8, turn_of=key)
    assert report.token_ids == reference_greedy(llama.model, torch.tensor(said), 8)
    assert report.kept_tokens <= changed


def test_a_turn_that_is_shorter_than_what_was_said_is_answered_right(llama: Target) -> None:
    engine, key = drafting_engine(llama), object()
    engine.generate(PROMPT, 8, turn_of=key)
    for prompt in (PROMPT, PROMPT[:5], PROMPT[:1], PROMPT[:1], [*PROMPT, 4]):
        report = engine.generate(prompt, 8, turn_of=key)
        assert report.token_ids == reference_greedy(llama.model, torch.tensor(prompt), 8)


def test_a_request_in_between_takes_nothing_from_a_conversation_and_gives_it_nothing(llama: Target) -> None:
    engine, key, other = drafting_engine(llama), object(), object()
    first = engine.generate(PROMPT, 8, turn_of=key)
    alone = drafting_engine(llama).generate(PROMPT, 6)
    names = ("token_ids", "target_passes", "active_mean", "coverage", "kept_tokens")
    for between in (engine.generate(PROMPT, 6), engine.generate(PROMPT, 6, turn_of=other)):
        assert [getattr(between, name) for name in names] == [getattr(alone, name) for name in names]
    report = engine.generate([*PROMPT, *first.token_ids, 50], 8, turn_of=key)
    assert report.kept_tokens == 0


def test_another_engine_on_the_same_target_may_answer_in_between(llama: Target) -> None:
    engine, other, key = drafting_engine(llama), autoregressive_engine(llama), object()
    first = engine.generate(PROMPT, 8, turn_of=key)
    other.generate([50] * 30, 8)
    said = [*PROMPT, *first.token_ids, 50]
    report = engine.generate(said, 8, turn_of=key)
    assert report.token_ids == reference_greedy(llama.model, torch.tensor(said), 8)


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_a_conversation_goes_on_after_an_answer_that_was_given_up(llama: Target, chunks: int) -> None:
    engine, key = drafting_engine(llama), object()
    stream = engine.stream(PROMPT, 30, turn_of=key)
    said = [*PROMPT, *itertools.chain(*(next(stream).token_ids for _ in range(chunks))), 61, 62]
    stream.close()
    report = engine.generate(said, 8, turn_of=key)
    assert report.token_ids == reference_greedy(llama.model, torch.tensor(said), 8)


def test_a_long_conversation_outgrows_its_first_cache(llama: Target) -> None:
    turns, limits = [[7, 8]] * 8, [20] * 8
    reports = converse(drafting_engine(llama), turns, limits)
    assert [report.token_ids for report in reports] == expected(llama, turns, limits)


class TestConversation:
    @pytest.fixture
    def engine(self, llama: Target) -> Engine:
        llama.tokenizer.chat_template = (
            "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} w3 {% endfor %}w4 "
        )
        return drafting_engine(llama)

    def test_the_messages_are_what_was_said(self, engine: Engine) -> None:
        conversation = Conversation(engine, "w5")
        answers = [conversation.say(text, 4).text for text in ("w6", "w7")]
        said = ["w5", "w6", answers[0], "w7", answers[1]]
        assert [message["content"] for message in conversation.messages] == said
        assert [message["role"] for message in conversation.messages][1:] == ["user", "assistant"] * 2

    def test_the_second_turn_keeps_what_the_first_one_read(self, engine: Engine) -> None:
        conversation = Conversation(engine, "w5")
        conversation.say("w6 w7 w8 w9 w10", 9)
        report = conversation.say("w11 w12 w13 w14 w15", 9)
        assert report.kept_tokens >= 8
        fresh = engine.generate([*conversation.messages[:-1]], 9)
        assert (fresh.token_ids, fresh.kept_tokens) == (report.token_ids, 0)

    def test_an_answer_given_up_is_remembered_as_far_as_it_was_read(self, engine: Engine) -> None:
        conversation = Conversation(engine)
        stream = conversation.stream("w6", 30)
        read = next(stream).text + next(stream).text
        stream.close()
        assert conversation.messages[1:] == [{"role": "assistant", "content": read}]

    def test_a_turn_that_fails_is_not_remembered(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        conversation = Conversation(engine)
        conversation.say("w6", 4)
        before = [*conversation.messages]
        with monkeypatch.context() as patched:
            patched.setattr(engine.drafting, "draft", None)
            with pytest.raises((SpecframeError, TypeError)):
                conversation.say("w7", 4)
        assert conversation.messages == before

    def test_settings_hold_for_every_turn_and_may_change_for_one(self, engine: Engine) -> None:
        conversation = Conversation(engine, max_new_tokens=3)
        lengths = [conversation.say("w6").new_tokens, conversation.say("w7", 5).new_tokens]
        assert [*lengths, conversation.say("w8").new_tokens] == [3, 5, 3]

    def test_starting_over_keeps_the_system_message_alone(self, engine: Engine) -> None:
        conversation = Conversation(engine, "w5")
        conversation.say("w6", 2)
        conversation.start_over()
        assert [message["role"] for message in conversation.messages] == ["system"]

    def test_a_model_without_a_chat_template_cannot_converse(self, engine: Engine) -> None:
        engine.target.tokenizer.chat_template = None
        with pytest.raises(UsageError, match="no chat template"):
            Conversation(engine).say("w6")

    def test_a_conversation_that_starts_over_is_another_one_to_a_warm_drafter(self, engine: Engine) -> None:
        forgotten: list[int] = []
        engine.config = attrs.evolve(engine.config, warm="conversation")
        engine.drafting.forget = lambda: forgotten.append(1)  # type: ignore[method-assign]
        conversation = Conversation(engine, max_new_tokens=3)
        conversation.say("w6")
        conversation.say("w7")
        assert len(forgotten) == 1
        conversation.start_over()
        conversation.say("w8")
        assert len(forgotten) == 2
