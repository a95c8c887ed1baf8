"""What a model's generation config asks for is what a request gets, as from transformers' ``generate``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from tiny_models import tiny_model, tiny_target, tiny_tokenizer
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from specframe.config import RunConfig
from specframe.contracts.sampling import SamplingParams
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.testing.tiny import EOS_ID

NEW_TOKENS = 24
PROMPT = [5, 17, 78, 78, 78, 19, 42, 8, 28, 12, 64]
SETTINGS: list[dict[str, Any]] = [
    {"repetition_penalty": 1.6},
    {"repetition_penalty": 2},
    {"encoder_repetition_penalty": 1.9},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 1},
    {"bad_words_ids": [[9], [78, 19]]},
    {"suppress_tokens": list(range(70, 90))},
    {"begin_suppress_tokens": list(range(20, 101))},
    {"min_new_tokens": 20, "eos_token_id": list(range(1, 40))},
    {"min_length": 18, "eos_token_id": list(range(1, 40))},
    {"min_length": 33, "min_new_tokens": 3, "eos_token_id": list(range(60, 90))},
    {"forced_eos_token_id": EOS_ID},
    {"exponential_decay_length_penalty": [2, 1.5], "eos_token_id": 50},
    {"sequence_bias": [[[9], 8.0], [[17, 42], -9.0]]},
    {"remove_invalid_values": True},
    {"renormalize_logits": True},
    {"suppress_tokens": [], "no_repeat_ngram_size": 0, "temperature": 0.7, "top_k": 3},
    {"no_repeat_ngram_size": 2, "repetition_penalty": 1.2, "suppress_tokens": [5], "min_new_tokens": 4},
]


def target_with(**entries: Any) -> Target:
    target = tiny_target(initializer_range=0.05)  # whose text repeats itself
    entries = {"eos_token_id": EOS_ID, "pad_token_id": 0, **entries}
    target.model.generation_config = GenerationConfig(**entries)
    ends = entries["eos_token_id"]
    target.stop_ids = frozenset(ends if isinstance(ends, list) else [ends])
    return target


def engine_with(head: Path, target: Target, **settings: Any) -> Engine:
    options = {"vocabulary": {"capacity": 64}, "drafter": {"checkpoint": str(head)}}
    config = RunConfig(dtype="float32", max_new_tokens=NEW_TOKENS, options=options, **settings)
    return build_engine(config, target=target)


@pytest.mark.parametrize("entries", SETTINGS, ids=lambda entries: "+".join(entries))
def test_the_ids_are_those_of_generate(entries: dict[str, Any], tiny_head: Path) -> None:
    target = target_with(**entries)
    engine = engine_with(tiny_head, target)
    ids = torch.tensor([PROMPT])
    if isinstance(entries.get("repetition_penalty"), int):  # which transformers itself refuses
        target.model.generation_config.repetition_penalty = float(entries["repetition_penalty"])
    expected = target.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW_TOKENS
    )
    assert engine.generate(PROMPT).token_ids == expected[0, len(PROMPT) :].tolist()


def test_every_setting_but_neutral_ones_changes_the_text(tiny_head: Path) -> None:
    """The test above would prove nothing of settings that do nothing."""
    plain = engine_with(tiny_head, target_with()).generate(PROMPT, ignore_eos=True).token_ids
    same = []
    for entries in SETTINGS:
        engine = engine_with(tiny_head, target_with(**entries))
        if engine.generate(PROMPT, ignore_eos=True).token_ids == plain:
            same.append("+".join(entries))
    assert same == [
        "remove_invalid_values",
        "renormalize_logits",
        "suppress_tokens+no_repeat_ngram_size+temperature+top_k",
    ]


def test_its_sampling_parameters_hold_where_none_is_given(tiny_head: Path) -> None:
    target = target_with(do_sample=True, temperature=0.6, top_k=7, top_p=0.9)
    engine = engine_with(tiny_head, target)
    report = engine.generate(PROMPT)
    assert report.verifier == "sampling"
    assert (report.temperature, report.top_k, report.top_p) == (0.6, 7, 0.9)
    assert report.generation_config == {"temperature": 0.6, "top_k": 7, "top_p": 0.9}
    asked = SamplingParams(temperature=0.6, top_k=7, top_p=0.9)
    same = engine_with(tiny_head, target_with(), sampling=asked).generate(PROMPT)
    assert same.token_ids == report.token_ids
    assert same.generation_config == {}


def test_sampling_without_a_top_k_keeps_every_token(tiny_head: Path) -> None:
    report = engine_with(tiny_head, target_with(do_sample=True)).generate(PROMPT)
    assert (report.temperature, report.top_k) == (1.0, 0)
    asked = engine_with(tiny_head, target_with(), sampling=SamplingParams(temperature=1.0, top_k=0))
    assert asked.generate(PROMPT).token_ids == report.token_ids


@pytest.mark.parametrize(
    ("given", "expected", "taken"),
    [
        ({"temperature": 0.0}, (0.0, 0, 1.0), set()),
        ({"temperature": 1.5}, (1.5, 7, 1.0), {"top_k"}),
        ({"top_k": 3}, (0.6, 3, 1.0), {"temperature"}),
        ({"seed": 4}, (0.6, 7, 1.0), {"temperature", "top_k"}),
        ({"top_k": 0, "top_p": 0.5, "temperature": 1.0}, (1.0, 0, 0.5), set()),
    ],
)
def test_what_is_given_beats_the_model(
    given: dict[str, Any], expected: tuple[float, ...], taken: set[str], tiny_head: Path
) -> None:
    target = target_with(do_sample=True, temperature=0.6, top_k=7)
    report = engine_with(tiny_head, target, sampling=SamplingParams(**given)).generate(PROMPT, 3)
    assert (report.temperature, report.top_k, report.top_p) == expected
    assert set(report.generation_config or ()) == taken


def test_a_penalty_that_is_given_beats_the_models(tiny_head: Path) -> None:
    engine = engine_with(tiny_head, target_with(repetition_penalty=1.8))
    plain = engine_with(tiny_head, target_with()).generate(PROMPT).token_ids
    assert engine.generate(PROMPT).token_ids != plain
    assert engine.generate(PROMPT, sampling=SamplingParams(repetition_penalty=1.0)).token_ids == plain


def test_a_processor_of_the_request_replaces_the_models_of_its_type(tiny_head: Path) -> None:
    target = target_with(repetition_penalty=1.8, no_repeat_ngram_size=1)
    own = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.1), NoRepeatNGramLogitsProcessor(3)])
    ids = torch.tensor([PROMPT])
    expected = target.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        logits_processor=own,
    )
    report = engine_with(tiny_head, target).generate(PROMPT, logits_processor=own)
    assert report.token_ids == expected[0, len(PROMPT) :].tolist()


@pytest.mark.parametrize("where", ["config", "request"])
def test_none_leaves_the_models_own_aside(where: str, tiny_head: Path) -> None:
    target = target_with(repetition_penalty=1.8, suppress_tokens=list(range(70, 90)))
    plain = engine_with(tiny_head, target_with()).generate(PROMPT).token_ids
    engine = engine_with(tiny_head, target, generation_config="none" if where == "config" else "model")
    asked = {} if where == "config" else {"generation_config": "none"}
    report = engine.generate(PROMPT, **asked)
    assert (report.token_ids, report.generation_config) == (plain, {})


def test_its_stop_strings_end_a_text(tiny_head: Path) -> None:
    whole = engine_with(tiny_head, target_with()).generate(PROMPT).token_ids
    stop = f"w{whole[5]} "
    engine = engine_with(tiny_head, target_with(stop_strings=[stop]))
    report = engine.generate(PROMPT)
    assert stop not in report.text
    assert (report.finish_reason, report.generation_config) == ("stop", {"stop_strings": [stop]})


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"num_beams": 4}, r"sets num_beams = 4, which is not done here; allowed: --generation-config none"),
        ({"guidance_scale": 2.0}, "sets guidance_scale = 2.0"),
        ({"no_repeat_ngram_size": "two"}, "sets no_repeat_ngram_size = 'two': .*; allowed: --gen"),
        ({"do_sample": True, "top_p": 1.5}, "generation config of tiny: top_p is 1.5; allowed"),
    ],
)
def test_what_cannot_be_done_is_one_line(entries: dict[str, Any], complaint: str, tiny_head: Path) -> None:
    target = tiny_target()
    vars(target)["_loaded"] = Stated(target, entries)
    with pytest.raises(UsageError, match=complaint):
        engine_with(tiny_head, target)
    assert engine_with(tiny_head, target, generation_config="none").generate(PROMPT, 2).new_tokens == 2


class Stated:
    """A loaded model whose generation config is what a file says, which transformers would not take."""

    def __init__(self, target: Target, entries: dict[str, Any]) -> None:
        self.model, self.generation_config = target.model, entries
        target.name = "tiny"


def test_what_is_not_taken_is_named(tiny_head: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tiny_target()
    vars(target)["_loaded"] = Stated(
        target, {"mood": "dark", "max_time": 3.0, "max_length": 20, "cache_implementation": "static"}
    )
    with caplog.at_level(logging.WARNING, "specframe"):
        engine_with(tiny_head, target)
    assert caplog.messages[0] == "not taken from the generation config of tiny: max_length, max_time, mood"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    entries = {"do_sample": True, "temperature": 0.5, "top_k": 4, "suppress_tokens": [88], "eos_token_id": 1}
    (tmp_path / "generation_config.json").write_text(json.dumps(entries), encoding="utf-8")
    return tmp_path


def test_the_command_line_takes_it_from_the_models_directory(directory: Path, cli: CommandLine) -> None:
    typed = ["run", "--strategy", "autoregressive", "--model", str(directory), "--max-new-tokens", "8"]
    typed += ["--dtype", "float32", "--prompt", "w5 w17"]
    report = json.loads(cli(*typed, "--json").out)
    assert (report["verifier"], report["temperature"], report["top_k"]) == ("sampling", 0.5, 4)
    assert report["generation_config"] == {"suppress_tokens": [88], "temperature": 0.5, "top_k": 4}
    greedy = json.loads(cli(*typed, "--json", "--temperature", "0").out)
    assert (greedy["verifier"], greedy["generation_config"]) == ("greedy", {"suppress_tokens": [88]})
    none = json.loads(cli(*typed, "--json", "--generation-config", "none").out)
    assert (none["verifier"], none["temperature"], none["generation_config"]) == ("greedy", 0.0, {})
    shown = cli(*typed).out
    assert "generation config  suppress_tokens [88], temperature 0.5, top_k 4 (the model's own)" in shown
    wrong = cli(*typed, "--generation-config", "some")
    assert (wrong.exit_code, wrong.complaint) == (2, "unknown generation config 'some'; known: model, none")


def test_a_benchmark_leaves_it_aside_unless_it_is_asked_for(directory: Path, cli: CommandLine) -> None:
    typed = ["bench", "--model", str(directory), "-s", "autoregressive", "--raw", "--max-new-tokens", "4"]
    typed += ["--dtype", "float32", "--limit-per-task", "1", "--skip-bad", "--json"]
    rows = directory / "rows.jsonl"
    assert cli(*typed, str(rows)).exit_code == 0
    assert json.loads(rows.read_text("utf-8").splitlines()[0])["temperature"] == 0.0
    asked = directory / "asked.jsonl"
    assert cli(*typed, str(asked), "--generation-config", "model").exit_code == 0
    assert json.loads(asked.read_text("utf-8").splitlines()[0])["temperature"] == 0.5


def test_the_config_of_an_older_checkpoint_counts_too(directory: Path, cli: CommandLine) -> None:
    (directory / "generation_config.json").unlink()
    config = json.loads((directory / "config.json").read_text("utf-8"))
    (directory / "config.json").write_text(json.dumps({**config, "repetition_penalty": 1.5}), "utf-8")
    typed = ["run", "--strategy", "autoregressive", "--model", str(directory), "--max-new-tokens", "8"]
    report = json.loads(cli(*typed, "--dtype", "float32", "--prompt", "w5 w17", "--json").out)
    assert (report["repetition_penalty"], report["generation_config"]) == (1.5, {"repetition_penalty": 1.5})


def stated(**entries: Any) -> Target:
    """Return a target whose generation config says what transformers may not take."""
    target = tiny_target()
    vars(target)["_loaded"] = Stated(target, entries)
    return target


@pytest.mark.parametrize(
    "entries",
    [
        {"bad_words_ids": [[4, 101]]},
        {"sequence_bias": [[[101], 2.0]]},
        {"forced_eos_token_id": 101},
        {"forced_eos_token_id": [1, 101]},
        {"forced_bos_token_id": 101},
    ],
    ids=str,
)
def test_an_id_that_the_model_has_not_is_refused_before_a_request(
    entries: dict[str, Any], tiny_head: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"tiny sets .*: it has the token id 101, and those .* 0 to 100; all"
    ):
        engine_with(tiny_head, stated(**entries))


@pytest.mark.parametrize("length", ["20", [1]], ids=str)
def test_a_length_that_is_no_number_is_not_taken(
    length: Any, tiny_head: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "specframe"):
        engine_with(tiny_head, stated(max_length=length))
    assert caplog.messages[0] == "not taken from the generation config of tiny: max_length"


def test_stop_strings_that_are_no_texts_are_refused(tiny_head: Path) -> None:
    with pytest.raises(UsageError, match=r"sets stop_strings = \(5,\): stop strings are texts"):
        engine_with(tiny_head, stated(stop_strings=5))


@pytest.mark.parametrize("ends", ["x", [[1]]], ids=str)
def test_an_id_that_ends_a_text_and_is_none_is_refused(ends: Any, directory: Path, cli: CommandLine) -> None:
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}), encoding="utf-8")
    result = cli("run", "--strategy", "autoregressive", "--model", str(directory), "--prompt", "w5")
    assert result.exit_code == 2
    assert result.complaint.endswith("allowed: a token id, or a list of them")
