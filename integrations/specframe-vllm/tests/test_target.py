from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_checkpoints import EOS, VOCAB_SIZE

from specframe.contracts.lm_head import OutputHead
from specframe.errors import UsageError
from specframe_vllm.target import VllmTarget


def target(tokenizer: Path, **named: Any) -> VllmTarget:
    """Return a target with the tokenizer of a folder; ``named`` is in its generation config."""
    config: Any = SimpleNamespace(
        model="tiny",
        tokenizer=str(tokenizer),
        tokenizer_revision=None,
        trust_remote_code=False,
        dtype=torch.float32,
        hf_text_config=SimpleNamespace(eos_token_id=EOS),
        get_vocab_size=lambda: VOCAB_SIZE,
        get_hidden_size=lambda: 8,
        try_get_generation_config=lambda: named,
    )
    return VllmTarget(config, torch.device("cpu"), OutputHead(torch.zeros(VOCAB_SIZE, 8)))


def test_special_tokens_are_always_active(tiny: Path) -> None:
    assert target(tiny).required_ids.tolist() == [0, 1, EOS]


def test_without_a_tokenizer_the_tokens_that_configs_name_are_always_active(tmp_path: Path) -> None:
    assert target(tmp_path, eos_token_id=[7, VOCAB_SIZE]).required_ids.tolist() == [EOS, 7]


def test_without_a_tokenizer_no_shipped_data_fit(tmp_path: Path) -> None:
    assert target(tmp_path).tokenizer_fingerprint == ""


def test_a_strategy_that_needs_the_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tiny has no tokenizer that can be loaded") as error:
        _ = target(tmp_path).tokenizer
    assert "\n" not in str(error.value)
