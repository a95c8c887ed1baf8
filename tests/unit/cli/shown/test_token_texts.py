"""What a token says on its own."""

from __future__ import annotations

from byte_tokenizer import byte_tokenizer

from specframe.cli.shown.token_texts import TokenTexts, is_part


def test_a_part_of_a_character_is_its_bytes() -> None:
    tokenizer = byte_tokenizer("æĹ")
    texts = TokenTexts(tokenizer)
    assert texts(len(tokenizer) - 2) == "\\xE6\\x97"
    assert is_part(texts(len(tokenizer) - 2))


def test_a_word_is_itself_with_the_space_before_it() -> None:
    tokenizer = byte_tokenizer("Ġword")
    said = TokenTexts(tokenizer)(len(tokenizer) - 2)
    assert (said, is_part(said)) == (" word", False)


def test_a_special_token_is_its_name() -> None:
    tokenizer = byte_tokenizer()
    assert TokenTexts(tokenizer)(tokenizer.eos_token_id) == "<eos>"


def test_an_id_beyond_the_tokenizer_is_a_number() -> None:
    assert TokenTexts(byte_tokenizer())(99_999) == "<99999>"
