"""A model that its owner trains, wraps or autocasts: the text is that of evaluation, or there is one line."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_models import reference_greedy, tiny_model, tiny_tokenizer
from torch import nn

from specframe.config import RunConfig
from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.transformers import engine_for, generate

PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11, 5, 17, 42, 8])
CONFIG = RunConfig(strategy="full", drafter="lookup", dtype="float32", gather="torch")


def engine_of(model: Any) -> Engine:
    return engine_for(model, CONFIG, tiny_tokenizer())


def in_training() -> Any:
    """Return a model that forgets half of what a layer says while it is trained."""
    model = tiny_model()
    mlp = model.model.layers[1].mlp
    mlp.down_proj = nn.Sequential(nn.Dropout(0.5), mlp.down_proj)
    return model.train()


def written(model: Any, engine: Engine) -> list[int]:
    """Return what a model generates with an engine as its loop."""
    ids = model.generate(
        PROMPT[None],
        attention_mask=torch.ones_like(PROMPT)[None],
        do_sample=False,
        max_new_tokens=20,
        custom_generate=generate,
        specframe=engine,
    )
    return ids[0, len(PROMPT) :].tolist()  # type: ignore[no-any-return]


def test_an_engine_of_a_model_in_training_writes_what_it_says_in_evaluation() -> None:
    model = in_training()
    expected = reference_greedy(copy.deepcopy(model).eval(), PROMPT, 20)
    assert engine_of(model).generate(PROMPT, 20).token_ids == expected
    assert all(module.training for module in model.modules())


def test_a_model_that_is_put_into_training_between_two_chunks_goes_on_as_it_was() -> None:
    model = in_training()
    expected = reference_greedy(copy.deepcopy(model).eval(), PROMPT, 20)
    found: list[int] = []
    for chunk in engine_of(model.eval()).stream(PROMPT, 20):
        found += chunk.token_ids
        model.train()
    assert found == expected
    assert model.training


@pytest.mark.parametrize("taps", [False, True], ids=["lean", "transformers"])
def test_under_autocast_there_is_one_line(taps: bool) -> None:
    model = tiny_model()
    if taps:
        model.model.layers[0].register_forward_hook(lambda *_: None)
    engine = engine_of(model)
    expected = engine.generate(PROMPT, 20).token_ids
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(UsageError, match=r"torch\.autocast is on, .*; allowed: "):
            engine.generate(PROMPT, 20)
        with pytest.raises(UsageError, match=r"torch\.autocast is on"):
            written(model, engine)
        with pytest.raises(UsageError, match=r"torch\.autocast is on"):
            engine_of(tiny_model())
    assert engine.generate(PROMPT, 20).token_ids == expected


def test_a_stream_that_comes_under_autocast_ends_in_one_line() -> None:
    stream = engine_of(tiny_model()).stream(PROMPT, 20)
    next(stream)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(UsageError, match="autocast"):
        next(stream)


def test_a_compiled_model_is_the_one_inside() -> None:
    model = tiny_model()
    compiled: Any = torch.compile(model, backend="eager")
    assert written(compiled, engine_of(compiled)) == reference_greedy(model, PROMPT, 20)


def test_hooks_that_transformers_adds_in_the_first_pass_are_no_change_of_the_model() -> None:
    model = tiny_model()
    model.config.output_hidden_states = True
    expected = reference_greedy(copy.deepcopy(model), PROMPT, 20)
    assert written(model, engine_of(model)) == expected


@pytest.mark.parametrize("what", [None, "smollm2-135m", nn.Linear(2, 2)])
def test_what_is_no_model_of_transformers_is_refused(what: Any) -> None:
    with pytest.raises(UsageError, match=r"the model is a \w+; allowed: a model of transformers"):
        engine_of(what)
