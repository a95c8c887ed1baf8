"""A target says what is known to be slow here, once."""

from __future__ import annotations

import logging

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer

from specframe.model.loading import LoadedModel
from specframe.model.target import Target


@pytest.mark.parametrize(("dtype", "said"), [(torch.float32, 0), (torch.bfloat16, 1)])
def test_a_dtype_that_is_slow_on_this_cpu_is_one_line(
    dtype: torch.dtype, said: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("specframe.ops.cpu.multiplies_bfloat16", lambda: False)
    with caplog.at_level(logging.WARNING):
        Target(LoadedModel(tiny_model().to(dtype), tiny_tokenizer(), "tiny"))
    assert [message for message in caplog.messages if "float32 is faster here" in message] == [
        "bfloat16 is slow on this CPU, which has no products of it; float32 is faster here"
    ] * said
