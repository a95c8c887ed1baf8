"""A token's bytes are those that it adds to a text, whatever its tokenizer writes for them."""

from __future__ import annotations

import pytest
from other_tokenizers import byte_level, sentencepiece
from tiny_models import tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from specframe_plugins.drafters.draft_model.token_bytes import TokenBytes

TOKENIZERS = {
    "byte-level": byte_level("Ġlight", "house"),
    "sentencepiece": sentencepiece("▁light", "house"),
    "without a space of its own": sentencepiece("▁light", "house", prefix_space=False),
    "words": tiny_tokenizer(30),
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_every_whole_token_adds_its_bytes_to_a_text(tokenizer: PreTrainedTokenizerFast) -> None:
    token_bytes = TokenBytes.read(tokenizer)
    first = next(i for token, i in tokenizer.get_vocab().items() if token.isascii() and token.isalnum())
    beginning = tokenizer.decode([first])
    checked = 0
    for token_id in set(token_bytes.of) - token_bytes.special:
        text = tokenizer.decode([first, token_id])
        if "\N{REPLACEMENT CHARACTER}" not in text:
            assert (beginning + token_bytes.of[token_id].decode()) == text
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("name", ["byte-level", "sentencepiece"])
def test_parts_of_a_character_are_bytes(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer("é", add_special_tokens=False)["input_ids"]
    assert TokenBytes.read(tokenizer).join(ids).removeprefix(b" ") == "é".encode()


def test_a_character_is_no_token_for_its_byte() -> None:
    tokenizer = TOKENIZERS["sentencepiece"]
    token_bytes, newline, byte = (
        TokenBytes.read(tokenizer),
        *tokenizer.convert_tokens_to_ids(["\n", "<0x0A>"]),
    )
    assert token_bytes.of[newline] == token_bytes.of[byte] == b"\n"
    assert token_bytes.id_of[b"\n"] == newline


def test_a_special_token_is_none_of_the_text() -> None:
    token_bytes = TokenBytes.read(TOKENIZERS["sentencepiece"])
    assert token_bytes.of[1] == b"<s>"
    assert b"<s>" not in token_bytes.id_of
