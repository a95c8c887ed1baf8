import itertools
import random

import pytest
import torch
from attrs import frozen
from tiny_models import MODEL_TYPES, reference_greedy, tiny_target

from specframe.errors import UsageError
from specframe.testing.tiny import EOS_ID
from specframe_plugins.training.conversation import Turn
from specframe_plugins.training.generation import BatchedGenerator, sample
from specframe_plugins.training.packed import RowCache, Segment, packed_pass
from specframe_plugins.training.prompts import build_prompts
from specframe_plugins.training.shards import ANSWER, FORCED, USER

TEMPLATE = (
    "{% for message in messages %}w10 {{ message['content'] }} w11 {% endfor %}"
    "{% if add_generation_prompt %}w12{% endif %}"
)


def chat_target(model_type="llama"):
    target = tiny_target(model_type)
    target.tokenizer.chat_template = TEMPLATE
    return target


def prompts_of(target, max_request=8, max_answer=12, max_length=100):
    return build_prompts(target.tokenizer, target.stop_ids, max_request, max_answer, max_length)


def conversations(target, prompts, rows, count, seed=3):
    generator = BatchedGenerator(target, prompts, rows, seed)
    return sorted(generator.run(iter(range(count))), key=lambda sequence: sequence.index)


@pytest.mark.parametrize("model_type", ["llama", "gemma3"])
def test_a_conversation_does_not_depend_on_the_rows_beside_it(model_type):
    target = chat_target(model_type)
    prompts = prompts_of(target)
    together = conversations(target, prompts, rows=5, count=12)
    alone = conversations(target, prompts, rows=1, count=12)
    assert [sequence.index for sequence in together] == list(range(12))
    for left, right in zip(together, alone, strict=True):
        assert left.tokens.tolist() == right.tokens.tolist()
        torch.testing.assert_close(left.features, right.features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model_type", ["llama", "gemma3"])
def test_features_are_those_of_a_teacher_forced_forward(model_type):
    target = chat_target(model_type)
    for sequence in conversations(target, prompts_of(target, 20, 30, 90), rows=4, count=6):
        with torch.inference_mode():
            hidden = target.decoder(input_ids=sequence.tokens.long()[None]).last_hidden_state[0]
        torch.testing.assert_close(sequence.features, hidden, rtol=1e-3, atol=1e-3)


def test_conversations_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="exceed the 256 positions"):
        conversations(chat_target(), prompts_of(chat_target(), 200, 200, 500), rows=1, count=1)


def answers(sequence):
    """Start and stop of every answer."""
    flags = torch.nn.functional.pad((sequence.roles == ANSWER).int(), (1, 1)).diff()
    return zip((flags == 1).nonzero()[:, 0].tolist(), (flags == -1).nonzero()[:, 0].tolist(), strict=True)


def turns_of(prompts, sequence):
    return prompts.turns(random.Random(f"3-{sequence.index}"), sequence.index)


@pytest.mark.parametrize("model_type", ["llama", "gemma3"])
def test_greedy_answers_are_what_transformers_generates(model_type):
    target = chat_target(model_type)
    prompts = prompts_of(target)
    compared = 0
    for sequence in conversations(target, prompts, rows=4, count=10):
        temperatures = [turn.temperature for turn in turns_of(prompts, sequence) if turn.is_answer]
        for (start, stop), temperature in zip(answers(sequence), temperatures, strict=False):
            if temperature == 0:
                expected = reference_greedy(target.model, sequence.tokens[:start].long(), stop - start)
                assert sequence.tokens[start:stop].tolist() == expected[: stop - start]
                compared += 1
    assert compared >= 8


def test_forced_tokens_are_kept():
    target = chat_target()
    prompts = prompts_of(target)
    for sequence in conversations(target, prompts, rows=3, count=8):
        turns = turns_of(prompts, sequence)
        expected = [*prompts.prefix, *turns[0].forced]
        assert sequence.tokens[: len(expected)].tolist() == expected
        assert (sequence.roles[: len(expected)] == FORCED).all()
        for start, stop in answers(sequence):
            before = sequence.tokens[start - len(prompts.after_user) : start].tolist()
            assert tuple(before) == prompts.after_user
            assert stop - start <= prompts.max_answer
        assert (sequence.roles == USER).sum() <= sum(turn.max_new for turn in turns if not turn.is_answer)


def test_some_conversations_have_several_answers_and_some_a_passage():
    prompts = prompts_of(chat_target(), max_length=1000)
    drawn = [prompts.turns(random.Random(index), index) for index in range(200)]
    assert {1, 2, 3} <= {sum(turn.is_answer for turn in turns) for turns in drawn}
    assert any(turns[0].max_new > 400 for turns in drawn)
    assert all(turns[-1].is_answer for turns in drawn)
    assert sum(turn.temperature == 0 for turns in drawn for turn in turns if turn.is_answer) > 200


def test_a_conversation_ends_where_its_room_does():
    target = chat_target()
    found = conversations(target, prompts_of(target, max_length=30), rows=4, count=30)
    lengths = [len(sequence.tokens) for sequence in found]
    assert max(lengths) == 30
    assert len(found) == 30


def test_too_little_room_is_refused():
    with pytest.raises(UsageError, match="allowed: at least 23"):
        prompts_of(chat_target(), max_length=22)


def test_a_base_model_continues_freely():
    target = tiny_target()
    prompts = prompts_of(target)
    for sequence in conversations(target, prompts, rows=3, count=8):
        assert sequence.tokens[0] == EOS_ID
        assert (sequence.roles == ANSWER).any()


@frozen
class OneTurn:
    turn: Turn
    prefix = (5,)
    stop_ids = frozenset()
    max_length = 160

    def turns(self, rng, index):
        return [self.turn]


@pytest.mark.parametrize(("temperature", "written"), [(0.0, 100), (1e-6, 21)])
def test_a_circling_answer_is_cut_at_a_hundred_tokens_and_a_sampled_one_at_once(temperature, written):
    target = tiny_target()
    with torch.no_grad():
        # Every feature is zero, so every logit is the bias-free 0: the same token for ever.
        target.decoder.norm.weight.zero_()
    # Of a nucleus of one, sampling takes the same token too.
    turn = Turn((), max_new=130, temperature=temperature, top_p=1e-6, is_answer=True)
    (sequence,) = conversations(target, OneTurn(turn), rows=1, count=1)
    assert (sequence.roles == ANSWER).sum() == written


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_packed_pass_is_the_models_own_forward(model_type):
    target = tiny_target(model_type)
    ids = torch.randint(3, 101, (40,), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = target.decoder(input_ids=ids[None]).last_hidden_state[0]
    whole, _ = packed_pass(target, [Segment(0, 0, ids[:13].tolist()), Segment(1, 0, ids.tolist())])
    torch.testing.assert_close(whole, torch.cat((expected[:13], expected)), rtol=1e-4, atol=1e-4)
    cache = RowCache(2, target.config.num_hidden_layers, 64)
    steps = [(0, 11), (11, 12), (12, 30), (30, 31), (31, 40)]
    parts = [packed_pass(target, [Segment(1, a, ids[a:b].tolist())], cache)[0] for a, b in steps]
    torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-4, atol=1e-4)
    assert target.config._attn_implementation == "sdpa"


def test_the_template_gives_prefix_separator_and_stop():
    target = chat_target()
    prompts = prompts_of(target)
    assert target.tokenizer.convert_ids_to_tokens(list(prompts.prefix)) == ["w10"]
    assert target.tokenizer.convert_ids_to_tokens(list(prompts.after_user)) == ["w11", "w12"]
    assert EOS_ID in prompts.stop_ids


def test_sampling_follows_the_nucleus():
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    count = 20_000
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(0))
    drawn = sample(probs.log().expand(count, 4), torch.ones(count), torch.full((count,), 0.8), uniform)
    shares = torch.bincount(drawn, minlength=4) / count
    torch.testing.assert_close(shares, torch.tensor([0.625, 0.375, 0.0, 0.0]), rtol=0, atol=0.02)
    assert (sample(probs.log()[None], torch.zeros(1), torch.ones(1), torch.tensor([0.99])) == 0).all()


def test_generation_ends_with_the_indices():
    target = tiny_target()
    found = conversations(target, prompts_of(target), rows=4, count=2)
    assert [sequence.index for sequence in found] == [0, 1]
    endless = BatchedGenerator(target, prompts_of(target), 4, 3).run(itertools.count())
    assert len(list(itertools.islice(endless, 9))) == 9
