"""A prompt comes from one place, is never empty, and is wrapped as the tokenizer's template says."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import tiny_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from specframe.errors import UsageError
from specframe.request.prompts import (
    BUILT_IN_PROMPT,
    encode_prompt,
    parse_template_args,
    read_prompt,
    read_tools,
)

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
    with pytest.raises(UsageError, match="no chat template; allowed: a text as it is"):
        encode_prompt(tiny_tokenizer(), "w7", chat=True)


THINKING = (
    "{% if enable_thinking is defined and not enable_thinking %}w10 {% else %}w12 {% endif %}"
    "{% if tools %}{% for tool in tools %}{{ tool.name }} {% endfor %}{% endif %}"
    "{% for m in messages %}{{ m.content }}{% endfor %}"
)


def thinking() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = THINKING
    return tokenizer


def test_a_template_gets_its_arguments_and_tools() -> None:
    tools = [{"name": "w7"}, {"name": "w8"}]
    assert encode_prompt(thinking(), "w5").tolist() == [12, 5]
    assert encode_prompt(thinking(), "w5", None, {"enable_thinking": False}, tools).tolist() == [10, 7, 8, 5]


def test_arguments_are_json() -> None:
    assert parse_template_args(["a=false", 'b="x=y"', "c=[1, 2]"]) == {"a": False, "b": "x=y", "c": [1, 2]}


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("enable_thinking", "option 'enable_thinking' is not NAME=JSON"),
        ("enable_thinking=no", "template argument enable_thinking is 'no', which is not JSON; allowed: true"),
    ],
)
def test_an_argument_of_another_form_is_refused(assignment: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_template_args([assignment])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"enable_thinkin": False}, "unknown template argument .*; did you mean 'enable_thinking'"),
        ({"tokenize": False}, "unknown template argument 'tokenize'; known: enable_thinking"),
        ({"messages": []}, "unknown template argument 'messages'; known: enable_thinking"),
    ],
)
def test_an_argument_that_the_template_does_not_take_is_refused(
    arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        encode_prompt(thinking(), "w5", None, arguments)


def test_a_template_without_tools_refuses_them() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    with pytest.raises(UsageError, match="takes no tools"):
        encode_prompt(tokenizer, "w5", None, {}, [{"name": "w7"}])


@pytest.mark.parametrize("settings", [({"enable_thinking": False}, None), (None, [{"name": "w7"}])])
def test_a_raw_prompt_takes_nothing_of_a_template(settings: Any) -> None:
    with pytest.raises(UsageError, match="for the chat template, and this prompt is taken as it is"):
        encode_prompt(thinking(), "w5", False, *settings)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot read the tools .*: No such file"),
        ("[", "are not valid JSON"),
        ('{"name": "w7"}', "holds no tools; allowed: a JSON list of objects"),
        ("[3]", "holds no tools"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "tools.json").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=complaint):
        read_tools(tmp_path / "tools.json")


def test_a_doubled_beginning_is_named(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = "w9"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("w9 $A", special_tokens=[("w9", 9)])
    with caplog.at_level(logging.WARNING, "specframe"):
        assert encode_prompt(tokenizer, "w5").tolist() == [9, 5]
        assert not caplog.messages
        assert encode_prompt(tokenizer, "w9 w5").tolist() == [9, 9, 5]
    assert caplog.messages == [
        "the prompt begins with w9, which the tokenizer adds as well: the model reads it twice; leave it "
        "out of the prompt"
    ]
