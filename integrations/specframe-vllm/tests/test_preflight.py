"""What is wrong with settings is said in one line before a model is loaded; settings for nothing are too."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vllm import LLM, EngineArgs

from specframe.errors import SpecframeError, UsageError
from specframe_vllm import preflight
from specframe_vllm.draft_head.refusals import refuse_kv_connector

NGRAM = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3}


def warnings(logged: list[logging.LogRecord]) -> list[str]:
    """Return what is a warning, or worse."""
    return [record.getMessage() for record in logged if record.levelno >= logging.WARNING]


def draft_model(tiny: Path) -> dict[str, Any]:
    return {"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "nanospc"}, "unknown strategy 'nanospc'; did you mean 'nanospec'?"),
        ({"capacity": 0}, "option capacity of strategy 'nanospec' is 0; allowed: integer >= 1"),
        ({"strategy": "retrieval"}, "inside vLLM there is no embed_tokens of the target"),
        ({"frequencies": "/nothing"}, "/nothing"),
        ("nanospec", "specframe in additional_config is 'nanospec'; allowed: an object"),
    ],
    ids=[
        "a mistyped strategy",
        "a wrong value",
        "a strategy that needs specframe's engine",
        "a file that is not there",
        "no object",
    ],
)
def test_an_engine_with_wrong_settings_does_not_start(
    tiny: Path,
    logged: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
    settings: object,
    message: str,
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("vllm.v1.worker.cpu_model_runner.get_model", load)
    with pytest.raises(SpecframeError) as error:
        LLM(str(tiny), speculative_config=draft_model(tiny), additional_config={"specframe": settings})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert warnings(logged) == [f"specframe: {error.value}"]


@pytest.mark.parametrize(
    ("speculative", "why"),
    [(None, "without a speculative config"), (NGRAM, "method 'ngram' has no draft model")],
    ids=["nothing drafts", "prompt lookup"],
)
def test_settings_for_nothing_are_one_line_in_the_log(
    tiny: Path, logged: list[logging.LogRecord], speculative: dict[str, Any] | None, why: str
) -> None:
    arguments = EngineArgs(
        str(tiny),
        max_model_len=512,
        speculative_config=speculative,
        additional_config={"specframe": {"capacity": 256}},
    )
    arguments.create_engine_config()
    [line] = warnings(logged)
    assert "the settings change nothing" in line
    assert why in line


def test_settings_for_a_draft_model_warn_of_nothing(tiny: Path, logged: list[logging.LogRecord]) -> None:
    arguments = EngineArgs(
        str(tiny),
        max_model_len=512,
        speculative_config=draft_model(tiny),
        additional_config={"specframe": {"capacity": 256}},
    )
    arguments.create_engine_config()
    assert warnings(logged) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_config": object()}, "LoRA adapters may change the rows"),
        ({"heterogeneous": True}, "the draft model has other token ids than the target"),
    ],
    ids=["LoRA", "other token ids"],
)
def test_rows_that_may_change_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    config: Any = SimpleNamespace(
        lora_config=changes.get("lora_config"),
        speculative_config=SimpleNamespace(use_heterogeneous_vocab=changes.get("heterogeneous", False)),
    )
    with pytest.raises(UsageError, match=message) as error:
        preflight.refuse_what_changes_rows(config)
    assert "\n" not in str(error.value)


def with_connector(name: str | None) -> Any:
    return SimpleNamespace(kv_transfer_config=SimpleNamespace(kv_connector=name))


def test_a_kv_connector_is_refused_beside_induction_heads() -> None:
    head = SimpleNamespace(induction_groups=1)
    with pytest.raises(UsageError, match="KV connector OffloadingConnector brings keys") as error:
        refuse_kv_connector(head, with_connector("OffloadingConnector"))
    assert "\n" not in str(error.value)


def test_a_kv_connector_goes_with_any_other_head() -> None:
    refuse_kv_connector(SimpleNamespace(induction_groups=0), with_connector("OffloadingConnector"))
    refuse_kv_connector(None, with_connector("OffloadingConnector"))


def test_an_exported_head_with_induction_heads_needs_no_kv_connector() -> None:
    refuse_kv_connector(SimpleNamespace(induction_groups=1), with_connector(None))


def test_it_is_refused_before_the_head_is_loaded(tiny: Path, tmp_path: Path) -> None:
    head = {
        "model_type": "specframe_eagle",
        "architectures": ["EagleSpecframeForCausalLM"],
        "vocab_size": 1024,
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "induction_groups": 1,
    }
    (tmp_path / "config.json").write_text(json.dumps(head), encoding="utf-8")
    arguments = EngineArgs(
        str(tiny),
        max_model_len=512,
        speculative_config={"method": "eagle", "model": str(tmp_path), "num_speculative_tokens": 3},
        kv_transfer_config={"kv_connector": "OffloadingConnector", "kv_role": "kv_both"},
    )
    with pytest.raises(UsageError, match="KV connector OffloadingConnector brings keys"):
        arguments.create_engine_config()


def test_a_screen_over_rows_of_several_ranks_is_refused() -> None:
    strategy = SimpleNamespace(screen=object())
    split = SimpleNamespace(parallel_config=SimpleNamespace(tensor_parallel_size=2))
    with pytest.raises(UsageError, match="screens all rows of the LM head; allowed: tensor_parallel_size 1"):
        preflight.refuse_split_screen(strategy, split)  # type: ignore[arg-type]  # nothing else is read
