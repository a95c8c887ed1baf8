"""A request takes text, messages or ids, and says what is wrong with anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_tokenizer

from specframe.config import RunConfig
from specframe.errors import UsageError
from specframe.request.request import Request

TOKENIZER = tiny_tokenizer()
TOKENIZER.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"


def encoded(prompt: Any, **settings: Any) -> list[int]:
    return Request(prompt, **settings).encode(TOKENIZER, vocab_size=101).tolist()


def test_a_text_is_one_user_turn_where_there_is_a_chat_template() -> None:
    assert encoded("w5 w6") == [2, 5, 6]


def test_a_text_may_be_taken_as_it_is() -> None:
    assert encoded("w5 w6", chat=False) == [5, 6]


def test_messages_go_through_the_chat_template() -> None:
    messages = [{"role": "w3", "content": "w4"}, {"role": "w5", "content": "w6"}]
    assert encoded(messages) == [3, 4, 5, 6]


def test_parts_of_type_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "w4 "}, {"type": "text", "text": "w5"}]
    assert encoded([{"role": "w3", "content": parts}]) == encoded([{"role": "w3", "content": "w4 w5"}])


@pytest.mark.parametrize(
    "prompt",
    [
        np.array([5, 6]),
        range(5, 7),
        [5, 6],
        (5, 6),
        torch.tensor([5, 6]),
        torch.tensor([5, 6]).int(),
        torch.tensor([5, 6]).to(torch.uint16),
    ],
)
def test_ids_are_taken_as_they_are(prompt: Any) -> None:
    assert encoded(prompt) == [5, 6]


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ([], "the prompt is empty"),
        ([10**30], "the prompt has token id"),
        (np.array([[5, 6]]), r"the prompt is array\(\[\[5, 6\]\]\); allowed: text"),
        (torch.tensor([5]).to_sparse(), "torch.sparse_coo; allowed: token ids"),
        (torch.tensor([5], device="meta"), r"int64 \[1\] on meta; allowed: token ids"),
        (torch.tensor([1j]), r"complex64 \[1\] on cpu; allowed: token ids"),
        (memoryview(b"ab"), "the prompt is <memory"),
        ({5, 6}, r"the prompt is \{5, 6\}; allowed: text"),
        (torch.zeros(0), "allowed: token ids"),
        (torch.zeros(2, 3, dtype=torch.int64), "one prompt at a time"),
        ([5, 101], "token id 101; allowed: 0 to 100"),
        ([-1, 5], "token id -1; allowed: 0 to 100"),
        (["w5"], r"the prompt is \['w5'\]; allowed: text, messages of a chat, or token ids"),
        (None, "the prompt is None; allowed: text"),
        (5, "the prompt is 5"),
        (b"w5", "the prompt is b'w5'"),
        ({"role": "user", "content": "w5"}, "the prompt is {'role'"),
        ([5, True], "allowed: text, messages of a chat, or token ids"),
        ([5, 6.0], "allowed: text, messages of a chat, or token ids"),
        ("w5 \ud800", "half of a surrogate pair; allowed: whole characters"),
        ([{"role": "w3", "content": "\udfff"}], "half of a surrogate pair"),
        ([{"role": "w3", "content": 5}], "a message's content is 5; allowed: a text, or parts of type text"),
        ([{"role": "w3", "content": [{"type": "image", "url": "x"}]}], "a part of type 'image'"),
        ([{"role": "w3", "content": [{"type": "text"}]}], "allowed: parts of type text"),
        ([{"role": "w3", "content": [7]}], "a part of type 'int'"),
    ],
)
def test_what_is_no_prompt_is_refused(prompt: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        encoded(prompt)


def test_a_template_that_refuses_messages_is_one_line() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(UsageError, match="the chat template refuses these messages: roles must alternate"):
        Request([{"role": "user", "content": "w5"}]).encode(tokenizer, 101)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 2.5},
        {"max_new_tokens": "8"},
        {"max_new_tokens": True},
        {"stop": ["a", ""]},
        {"stop": 5},
        {"stop": ["a", 5]},
        {"stop_ids": 5},
        {"stop_ids": ["5"]},
        {"stop_ids": "56"},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: Any) -> None:
    with pytest.raises(UsageError, match="allowed: "):
        Request("w5", **settings)


def test_one_stop_string_need_not_be_in_a_list() -> None:
    assert Request("w5", stop="w6").stop == ("w6",)


@pytest.mark.parametrize("sampling", [3, {"temperature": 0.5}])
def test_sampling_that_is_no_sampling_params_is_refused(sampling: Any) -> None:
    for make in (lambda: Request("hello", sampling=sampling), lambda: RunConfig(sampling=sampling)):
        with pytest.raises(UsageError, match="allowed: SamplingParams"):
            make()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"max_new_tokens": torch.tensor([3, 4])}, r"max_new_tokens is tensor\(\[3, 4\]\); allowed: a whole"),
        ({"until": 5}, "until is 5; allowed: a function, or None"),
        ({"watch": "x"}, "watch is 'x'; allowed: a function, or None"),
        ({"logits_processor": 5}, "logits_processor is 5; allowed: a list of processors, or None"),
        ({"logits_processor": [5]}, "something that cannot be called; allowed: processors"),
        ({"chat": "no"}, "chat is 'no'; allowed: True, False or None"),
        ({"ignore_eos": 1}, "ignore_eos is 1; allowed: True or False"),
        ({"id": None}, "id is None; allowed: a text"),
    ],
)
def test_a_field_of_another_kind_is_one_line(setting: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Request([5, 6], **setting)
