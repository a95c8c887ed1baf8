"""Log-probabilities are the target's own, of the emitted tokens, however they were found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from tiny_engines import PROMPT, endless_target
from tiny_models import tiny_model, tiny_tokenizer

from specframe.config import RunConfig
from specframe.contracts.sampling import SamplingParams
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.model.loading import LoadedModel
from specframe.model.target import Target


def engine_with(head: Path, target: Target | None = None, **settings: Any) -> Engine:
    options = {"vocabulary": {"capacity": 64}, "drafter": {"checkpoint": str(head)}}
    config = RunConfig(dtype="float32", max_new_tokens=20, options=options, **settings)
    return build_engine(config, target=target or endless_target())


def own_logprobs(engine: Engine, token_ids: list[int]) -> torch.Tensor:
    """Return the log-probabilities of transformers' forward after each token before an emitted one [n, V]."""
    ids = torch.tensor([[*PROMPT, *token_ids]])
    with torch.inference_mode():
        logits = engine.target.model(ids).logits[0, len(PROMPT) - 1 : -1]
    return logits.float().log_softmax(dim=-1)


@pytest.mark.parametrize(
    "sampling",
    [{}, {"temperature": 1.3, "top_k": 9}, {"repetition_penalty": 1.5}],
    ids=lambda sampling: "+".join(sampling) or "greedy",
)
def test_they_are_those_of_the_models_own_forward(sampling: dict[str, Any], tiny_head: Path) -> None:
    engine = engine_with(tiny_head, sampling=SamplingParams(**sampling))
    report = engine.generate(PROMPT, logprobs=4)
    assert report.logprobs is not None
    expected = own_logprobs(engine, report.token_ids)
    chosen = expected.gather(1, torch.tensor(report.token_ids)[:, None])[:, 0]
    best = expected.topk(4)
    found = torch.tensor([kept.logprob for kept in report.logprobs])
    torch.testing.assert_close(found, chosen, atol=1e-4, rtol=0.0)
    assert [kept.top_ids for kept in report.logprobs] == best.indices.tolist()
    top = torch.tensor([kept.top_logprobs for kept in report.logprobs])
    torch.testing.assert_close(top, best.values, atol=1e-4, rtol=0.0)
    assert engine.generate(PROMPT).token_ids == report.token_ids


def test_none_of_the_likeliest_may_be_asked_for(tiny_head: Path) -> None:
    report = engine_with(tiny_head).generate(PROMPT, 5, logprobs=0)
    assert report.logprobs is not None
    assert [kept.top_ids for kept in report.logprobs] == [[]] * 5


def test_without_being_asked_there_are_none(tiny_head: Path) -> None:
    assert engine_with(tiny_head).generate(PROMPT, 5).logprobs is None


def test_with_a_screen_all_logits_are_computed(tiny_head: Path) -> None:
    model = tiny_model(vocab_size=101)
    model.generation_config.eos_token_id = None
    target = Target(LoadedModel(model, tiny_tokenizer(), "tiny"), "auto", "exact-screen")
    engine = engine_with(tiny_head, target, target_head="exact-screen")
    report = engine.generate(PROMPT, logprobs=2)
    assert report.logprobs is not None
    chosen = own_logprobs(engine, report.token_ids).gather(1, torch.tensor(report.token_ids)[:, None])
    found = torch.tensor([kept.logprob for kept in report.logprobs])
    torch.testing.assert_close(found, chosen[:, 0], atol=1e-4, rtol=0.0)
    assert report.target_head == "full"
    assert engine.generate(PROMPT).target_head == "exact-screen"


@pytest.mark.parametrize(
    ("count", "complaint"),
    [
        (-1, "logprobs is -1; allowed: 0 or more"),
        (1.5, "logprobs is 1.5; allowed: a whole number"),
        (102, "logprobs is 102; allowed: 0 to 101, the tokens of tiny-llama"),
    ],
)
def test_a_count_that_cannot_be_is_one_line(count: Any, complaint: str, tiny_head: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        engine_with(tiny_head).generate(PROMPT, logprobs=count)


def test_the_command_line_shows_them(tiny_directory: Path, cli: CommandLine) -> None:
    typed = ["run", "--strategy", "autoregressive", "--model", tiny_directory, "--max-new-tokens", "3"]
    typed += ["--dtype", "float32", "--prompt", "w5 w17", "--logprobs", "2"]
    kept = json.loads(cli(*typed, "--json").out)
    lines = cli(*typed).out.splitlines()
    for token_id, one in zip(kept["token_ids"], kept["logprobs"], strict=True):
        assert any(line.split()[:2] == [f"w{token_id}", f"{one['logprob']:.4f}"] for line in lines)
        assert (len(one["top_ids"]), one["top_ids"][0]) == (2, token_id)
