"""A part of a text is written as it stands there, and not as if it were the whole."""

from __future__ import annotations

import pytest
from other_tokenizers import byte_level, sentencepiece
from transformers import PreTrainedTokenizerFast

from specframe_plugins.drafters.draft_model.text_writer import TextWriter
from specframe_plugins.drafters.draft_model.token_bytes import TokenBytes

TOKENIZERS = {
    "byte-level": byte_level("Ġlight", "house"),
    "sentencepiece": sentencepiece("▁light", "house"),
    "without a space of its own": sentencepiece("▁light", "house", prefix_space=False),
}


def writer(tokenizer: PreTrainedTokenizerFast) -> TextWriter:
    return TextWriter(tokenizer, TokenBytes.read(tokenizer))


@pytest.mark.parametrize(
    "text", ["house", " light", " lighthouse", "  light", " ", "\nhouse", "é", "漢字 a", "a b"]
)
@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_what_is_written_inside_a_text_says_just_that(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = writer(tokenizer).write(text.encode())
    assert TokenBytes.read(tokenizer).join(ids) == text.encode()


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_word_inside_a_text_is_the_token_that_the_whole_text_has(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    whole = tokenizer("a light house")["input_ids"]
    assert whole[-len(writer(tokenizer).write(b" light house")) :] == [
        *writer(tokenizer).write(b" light house")
    ]
    assert whole[-1] == writer(tokenizer).write(b"house")[-1]


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_the_beginning_of_a_text_is_written_as_the_tokenizer_begins(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    own = writer(tokenizer)
    assert [*own.prefix, *own.write(b"light", begins=True)] == tokenizer("light")["input_ids"]


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_half_of_a_character_becomes_bytes(tokenizer: PreTrainedTokenizerFast) -> None:
    half = "é".encode()[:1]
    ids = writer(tokenizer).write(b"house" + half)
    assert TokenBytes.read(tokenizer).join(ids) == b"house" + half


@pytest.mark.parametrize(("name", "prefix"), [("byte-level", ()), ("sentencepiece", (1,))])
def test_the_prefix_is_what_the_tokenizer_puts_before_every_text(name: str, prefix: tuple[int, ...]) -> None:
    assert writer(TOKENIZERS[name]).prefix == prefix
