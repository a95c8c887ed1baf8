"""Sampling from the command line: parameters reach the target, and the seed decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine, Outcome
from tiny_models import tiny_model, tiny_tokenizer
from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.model.loading import LoadedModel
from specframe.model.target import Target

PROMPT_IDS = [5, 17, 42, 8, 33]
PROMPT = " ".join(f"w{i}" for i in PROMPT_IDS)


@pytest.fixture
def tiny(cli: CommandLine, tiny_directory: Path) -> CommandLine:
    def run(*arguments: object) -> Outcome:
        common = ("--model", tiny_directory, "--dtype", "float32", "--prompt", PROMPT, "--json")
        return cli("run", *common, "--strategy", "autoregressive", "--max-new-tokens", 12, *arguments)

    return run


def printed(outcome: Outcome) -> dict[str, Any]:
    assert outcome.exit_code == 0, outcome.err
    return json.loads(outcome.out)  # type: ignore[no-any-return]


def test_the_seed_decides_what_is_sampled(tiny: CommandLine) -> None:
    first, again, other = (
        printed(tiny("--temperature", 2, "--seed", seed))["token_ids"] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_auto_takes_the_verifier_that_fits_the_temperature(tiny: CommandLine) -> None:
    assert printed(tiny("--temperature", 0.7))["verifier"] == "sampling"
    assert printed(tiny("--temperature", 0))["verifier"] == "greedy"


def test_the_json_has_the_sampling_parameters(tiny: CommandLine) -> None:
    report = printed(tiny("--temperature", 0.7, "--top-p", 0.9, "--top-k", 20, "--min-p", 0.05))
    assert [report[name] for name in ("temperature", "top_p", "top_k", "min_p")] == [0.7, 0.9, 20, 0.05]


def test_top_k_1_is_greedy_at_any_temperature(tiny: CommandLine) -> None:
    greedy = printed(tiny())["token_ids"]
    assert printed(tiny("--temperature", 5, "--top-k", 1))["token_ids"] == greedy


def test_a_file_may_write_a_whole_temperature(tiny: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("temperature = 1\ntop_k = 1\n", encoding="utf-8")
    assert printed(tiny("--config", tmp_path / "run.toml"))["temperature"] == 1.0


@pytest.mark.parametrize("penalty", [1.3, 0.8])
def test_greedy_with_a_repetition_penalty_is_transformers_own(tiny: CommandLine, penalty: float) -> None:
    expected = tiny_model().generate(
        torch.tensor([PROMPT_IDS]),
        attention_mask=torch.ones(1, len(PROMPT_IDS), dtype=torch.int64),
        do_sample=False,
        repetition_penalty=penalty,
        max_new_tokens=12,
    )[0, len(PROMPT_IDS) :]
    assert printed(tiny("--repetition-penalty", penalty))["token_ids"] == expected.tolist()


def test_processors_from_python_are_applied(tiny_directory: Path) -> None:
    target = Target(LoadedModel(tiny_model(), tiny_tokenizer(), "tiny"))
    engine = build_engine(RunConfig(strategy="autoregressive", dtype="float32"), target=target)
    processors = LogitsProcessorList([NoRepeatNGramLogitsProcessor(1)])
    token_ids = engine.generate(torch.tensor(PROMPT_IDS), 20, logits_processor=processors).token_ids
    assert len({*token_ids, *PROMPT_IDS}) == len(token_ids) + len(PROMPT_IDS)
