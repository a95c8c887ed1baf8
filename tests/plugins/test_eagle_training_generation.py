import itertools
import random

import pytest
import torch
from tiny_models import EOS_ID, reference_greedy, tiny_target

from specframe.errors import UsageError
from specframe_plugins.drafters.eagle.training.generation import BatchedGenerator, sample
from specframe_plugins.drafters.eagle.training.prompts import Prompts, Turn, build_prompts
from specframe_plugins.drafters.eagle.training.shards import ANSWER, FORCED, USER

TEMPLATE = (
    "{% for message in messages %}w10 {{ message['content'] }} w11 {% endfor %}"
    "{% if add_generation_prompt %}w12{% endif %}"
)


def chat_target(model_type="llama"):
    target = tiny_target(model_type)
    target.tokenizer.chat_template = TEMPLATE
    return target


def prompts_of(target, max_request=8, max_answer=12):
    return build_prompts(target.tokenizer, target.stop_ids, max_request, max_answer)


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
    for sequence in conversations(target, prompts_of(target, 20, 30), rows=4, count=6):
        with torch.inference_mode():
            hidden = target.decoder(input_ids=sequence.tokens.long()[None]).last_hidden_state[0]
        torch.testing.assert_close(sequence.features, hidden, rtol=1e-3, atol=1e-3)


def test_attention_that_wants_additive_masks_gets_them():
    target = chat_target("gemma3")
    expected = conversations(target, prompts_of(target), rows=3, count=5)
    target.model.set_attn_implementation("eager")
    assert target.config._attn_implementation == "eager"
    for left, right in zip(expected, conversations(target, prompts_of(target), rows=3, count=5), strict=True):
        assert left.tokens.tolist() == right.tokens.tolist()


def test_conversations_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="exceed the 256 positions"):
        conversations(chat_target(), prompts_of(chat_target(), 200, 200), rows=1, count=1)


def test_greedy_answers_are_what_transformers_generates():
    target = chat_target()
    prompts = prompts_of(target)
    compared = 0
    for sequence in conversations(target, prompts, rows=4, count=10):
        greedy = prompts.turns(random.Random(f"3-{sequence.index}"))[1].temperature == 0
        start = int((sequence.roles == ANSWER).nonzero()[0])
        if greedy:
            answer = sequence.tokens[start:].tolist()
            expected = reference_greedy(target.model, sequence.tokens[:start].long(), len(answer))
            assert answer == expected[: len(answer)]
            compared += 1
    assert compared >= 5


def test_forced_tokens_are_kept():
    target = chat_target()
    prompts = prompts_of(target)
    for sequence in conversations(target, prompts, rows=3, count=8):
        opening = prompts.turns(random.Random(f"3-{sequence.index}"))[0].forced
        expected = [*prompts.prefix, *opening]
        assert sequence.tokens[: len(expected)].tolist() == expected
        start = int((sequence.roles == ANSWER).nonzero()[0])
        assert tuple(sequence.tokens[start - len(prompts.after_user) : start].tolist()) == prompts.after_user
        assert (sequence.roles[: len(expected)] == FORCED).all()
        assert (sequence.roles == ANSWER).sum() <= prompts.max_answer
        assert (sequence.roles == USER).sum() <= prompts.max_user


def test_a_base_model_continues_freely():
    target = tiny_target()
    prompts = prompts_of(target)
    assert prompts.after_user == ()
    for sequence in conversations(target, prompts, rows=3, count=8):
        assert sequence.tokens[0] == EOS_ID
        stops = (sequence.tokens[1:] == EOS_ID).nonzero()[:, 0].tolist()
        assert stops in ([], [len(sequence.tokens) - 2])


def test_a_loop_is_cut():
    target = tiny_target()
    turn = Turn((), max_new=100, temperature=0.0, top_p=1.0, is_answer=True)

    class OneTurn(Prompts):
        def turns(self, rng):
            return (turn,)

    with torch.no_grad():
        # Every feature is zero, so every logit is the bias-free 0: the same token for ever.
        target.decoder.norm.weight.zero_()
    prompts = OneTurn((5,), (), frozenset(), ((6,),), 10, 100)
    (sequence,) = conversations(target, prompts, rows=1, count=1)
    assert (sequence.roles == ANSWER).sum() == 9


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
