"""Batches, scores and logits of ``model.generate``: those of each row alone, put together as it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from specframe.config import RunConfig
from specframe.contracts.sampling import SamplingParams
from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.testing.tiny import EOS_ID
from specframe.transformers import engine_for, generate

ROWS = [[5, 17, 42, 8, 33, 12, 70, 64], [9, 9, 5], [71], [8, 33, 12, 70, 8, 33]]
PAD = 0


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    model: PreTrainedModel = tiny_model(max_position_embeddings=128, initializer_range=0.08)
    model.generation_config.max_new_tokens = 16
    return model


@pytest.fixture(scope="module")
def engine(model: PreTrainedModel, tiny_head: Path) -> Engine:
    options = {"drafter": {"checkpoint": str(tiny_head)}, "vocabulary": {"capacity": 60}}
    return engine_for(model, RunConfig(options=options), tiny_tokenizer())


def batch(rows: list[list[int]]) -> dict[str, Tensor]:
    width = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[PAD] * (width - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
    }


class NoneTwice(LogitsProcessor):
    """Forbids the last token of the context, which padding must not be."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        assert not (input_ids == PAD).any()
        return scores.scatter(1, input_ids[:, -1:], -torch.inf)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"eos_token_id": list(range(1, 30))},
        {"eos_token_id": list(range(1, 30)), "min_new_tokens": 5},
        {"eos_token_id": 50, "exponential_decay_length_penalty": (3, 1.4)},
        {"repetition_penalty": 1.5},
        {"encoder_repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 2},
        {"encoder_no_repeat_ngram_size": 1},
        {"begin_suppress_tokens": list(range(40, 101))},
        {"forced_eos_token_id": EOS_ID},
        {"logits_processor": LogitsProcessorList([NoneTwice()])},
        {"prefix_allowed_tokens_fn": lambda row, ids: list(range(20 * row + 3, 20 * row + 40))},
    ],
    ids=lambda arguments: "+".join(arguments),
)
def test_every_row_is_what_it_is_alone(
    arguments: dict[str, Any], model: PreTrainedModel, engine: Engine
) -> None:
    found = model.generate(
        **batch(ROWS), do_sample=False, custom_generate=generate, specframe=engine, **arguments
    )
    alone = []
    for at, row in enumerate(ROWS):
        own = dict(arguments)
        if "prefix_allowed_tokens_fn" in own:
            own["prefix_allowed_tokens_fn"] = lambda _, ids, at=at: list(range(20 * at + 3, 20 * at + 40))
        alone.append(model.generate(**batch([row]), do_sample=False, **own)[0, len(row) :].tolist())
    longest, width = max(map(len, alone)), max(map(len, ROWS))
    assert found[:, :width].tolist() == batch(ROWS)["input_ids"].tolist()
    assert found[:, width:].tolist() == [ids + [PAD] * (longest - len(ids)) for ids in alone]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"repetition_penalty": 1.5}, {"suppress_tokens": [7, 8]}, {"eos_token_id": list(range(1, 30))}],
    ids=lambda arguments: "+".join(arguments),
)
def test_scores_and_logits_are_those_of_generate(
    arguments: dict[str, Any], model: PreTrainedModel, engine: Engine
) -> None:
    asked: dict[str, Any] = {
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        **batch(ROWS[:1]),
        **arguments,
    }
    expected = model.generate(**asked)
    found = model.generate(custom_generate=generate, specframe=engine, **asked)
    assert found.sequences.tolist() == expected.sequences.tolist()
    for name in ("scores", "logits"):
        torch.testing.assert_close(torch.stack(found[name]), torch.stack(expected[name]), atol=1e-4, rtol=0.0)


def test_scores_of_sampling_are_processed(model: PreTrainedModel, engine: Engine) -> None:
    found = model.generate(
        **batch(ROWS[:2]),
        do_sample=True,
        top_k=3,
        repetition_penalty=1.2,
        return_dict_in_generate=True,
        output_scores=True,
        custom_generate=generate,
        specframe=sampling_engine(model, engine),
    )
    assert len(found.scores) == found.sequences.shape[1] - 8
    assert found.logits is None
    assert (found.scores[0].isfinite().sum(dim=1) == 3).all()


def sampling_engine(model: PreTrainedModel, engine: Engine) -> Engine:
    config = RunConfig(options=engine.config.options, sampling=SamplingParams(temperature=1.0))
    return engine_for(model, config, engine.target.tokenizer)


def test_rows_that_have_ended_have_zero_scores(model: PreTrainedModel, engine: Engine) -> None:
    found = model.generate(
        **batch(ROWS),
        do_sample=False,
        eos_token_id=list(range(1, 30)),
        return_dict_in_generate=True,
        output_logits=True,
        custom_generate=generate,
        specframe=engine,
    )
    new_ids = found.sequences[:, 8:]
    logits = torch.stack(found.logits, dim=1)
    ended = (new_ids == PAD).cumsum(dim=1) > 0
    assert ended.any()
    assert torch.equal((logits == 0).all(dim=-1), ended)


def test_several_samples_of_a_prompt_are_several_rows(model: PreTrainedModel, engine: Engine) -> None:
    torch.manual_seed(0)
    found = model.generate(
        **batch(ROWS[:2]),
        do_sample=True,
        temperature=1.5,
        num_return_sequences=3,
        custom_generate=generate,
        specframe=sampling_engine(model, engine),
    )
    assert found.shape[0] == 6
    assert len({tuple(row) for row in found[:3].tolist()}) == 3


@pytest.fixture(scope="module")
def alone(engine: Engine) -> list[list[int]]:
    return [engine.generate(row, 12).token_ids for row in ROWS]


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_engine_answers_what_a_tokenizer_returns(
    side: str, engine: Engine, alone: list[list[int]]
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = side
    texts = [" ".join(f"w{i}" for i in row) for row in ROWS]
    for tensors in ("pt", None):
        made = tokenizer(texts, padding=True, return_tensors=tensors)
        assert [one.token_ids for one in engine.generate_all(made, max_new_tokens=12)] == alone


def test_an_engine_answers_a_batch_of_ids(engine: Engine, alone: list[list[int]]) -> None:
    made = batch(ROWS)
    reports = engine.generate_all(made["input_ids"], attention_mask=made["attention_mask"], max_new_tokens=12)
    assert [report.token_ids for report in reports] == alone


def test_several_samples_have_seeds_that_count_up(model: PreTrainedModel, engine: Engine) -> None:
    hot = sampling_engine(model, engine)
    reports = list(hot.generate_all(ROWS[:2], num_return_sequences=3, max_new_tokens=12))
    assert [report.seed for report in reports] == [0, 1, 2] * 2
    assert len({tuple(report.token_ids) for report in reports[:3]}) == 3


@pytest.mark.parametrize(
    ("requests", "asked", "complaint"),
    [
        (
            ROWS,
            {"num_return_sequences": 2, "max_new_tokens": 3},
            "num_return_sequences is 2 at temperature 0, where all are equal",
        ),
        (ROWS, {"num_return_sequences": 0}, "num_return_sequences is 0; allowed: 1 or more"),
        ("text", {}, "the requests are 'text'; allowed: several prompts"),
        ({"ids": 3}, {}, "a mapping without input_ids is no batch"),
        (torch.ones(2, 3).long(), {"attention_mask": torch.ones(2, 2)}, r"the attention mask is of \[\[2\]"),
        (torch.ones(2, 3).long(), {"attention_mask": torch.tensor([[1] * 3, [0] * 3])}, "prompt 1 .* alone"),
        (torch.ones(2, 3).long(), {"attention_mask": 5}, "the attention mask of the batch cannot be read"),
        (torch.ones(2, 3).long(), {"attention_mask": ["a", "b"]}, "the attention mask of the batch cannot"),
        ({"input_ids": [["a"]], "attention_mask": [[1]]}, {}, "the ids of the batch cannot be read"),
        ({"input_ids": None}, {}, r"input_ids is None; allowed: ids \[B, T\]"),
        (torch.ones(2, 3, 1).long(), {}, r"the batch is a tensor \[2, 3, 1\]; allowed: ids \[B, T\]"),
    ],
)
def test_a_batch_that_cannot_be_is_one_line(
    requests: Any, asked: dict[str, Any], complaint: str, engine: Engine
) -> None:
    with pytest.raises(UsageError, match=complaint):
        list(engine.generate_all(requests, **asked))
