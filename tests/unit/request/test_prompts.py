"""A prompt comes from one place, is never empty, and is wrapped as the tokenizer's template says."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_models import tiny_tokenizer

from specframe.errors import UsageError
from specframe.request.prompts import BUILT_IN_PROMPT, encode_prompt, read_prompt

TEMPLATE = (
    "w10 {% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %} w11{% endif %}"
)


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))


def test_without_a_prompt_there_is_a_built_in_one() -> None:
    assert read_prompt() == BUILT_IN_PROMPT


def test_the_text_is_the_prompt() -> None:
    assert read_prompt(text=" as it is\n") == " as it is\n"


def test_a_file_loses_one_newline_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "prompt").write_bytes("Grüße\n\n".encode())
    assert read_prompt(file=str(tmp_path / "prompt")) == "Grüße\n"


@pytest.mark.parametrize("source", ["file", "argument"])
def test_a_dash_reads_standard_input(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"from a pipe\n")
    assert read_prompt(**{source: "-"}) == "from a pipe"


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_prompt_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the prompt is empty"):
        read_prompt(text=text)


def test_an_empty_pipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"")
    with pytest.raises(UsageError, match="the prompt is empty"):
        read_prompt(argument="-")


def test_two_prompts_are_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        read_prompt(text="one", argument="-")


def test_an_argument_that_is_no_dash_is_refused() -> None:
    with pytest.raises(UsageError, match="unexpected argument 'hello'"):
        read_prompt(argument="hello")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the prompt file"):
        read_prompt(file=str(tmp_path / "absent"))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompt").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_prompt(file=str(tmp_path / "prompt"))


def test_a_tokenizer_with_a_chat_template_wraps_the_prompt_by_default() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    assert encode_prompt(tokenizer, "w7").tolist() == [10, 7, 11]


def test_raw_takes_the_prompt_as_it_is() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    assert encode_prompt(tokenizer, "w7", chat=False).tolist() == [7]


def test_a_tokenizer_without_a_chat_template_takes_the_prompt_as_it_is() -> None:
    ids = encode_prompt(tiny_tokenizer(), "w7 w8")
    assert (ids.tolist(), ids.dtype) == ([7, 8], torch.int64)


def test_a_chat_without_a_template_is_refused() -> None:
    with pytest.raises(UsageError, match="no chat template; allowed: --raw"):
        encode_prompt(tiny_tokenizer(), "w7", chat=True)
