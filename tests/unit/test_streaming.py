"""Streamed text is the decoded text, and never breaks a character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from specframe.errors import UsageError
from specframe.streaming import TextStream

_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are single bytes, so that most characters take several."""
    backend = Tokenizer(models.BPE({byte: i for i, byte in enumerate(_ALPHABET)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


TOKENIZER = byte_tokenizer()


def pieces(token_ids: list[int]) -> list[str]:
    stream = TextStream(TOKENIZER)
    return [*(stream.push([token_id]) for token_id in token_ids), stream.finish()]


@given(st.text())
def test_the_pieces_of_any_text_add_up_to_it(text: str) -> None:
    assert "".join(pieces(TOKENIZER.encode(text))) == text


@given(st.text(st.sampled_from("aé€😀👩‍👩‍👧")))
def test_no_piece_holds_a_broken_character(text: str) -> None:
    assert "\ufffd" not in "".join(pieces(TOKENIZER.encode(text)))


@given(st.lists(st.integers(0, len(_ALPHABET) - 1)))
def test_the_pieces_of_any_ids_add_up_to_the_decoded_text(token_ids: list[int]) -> None:
    assert "".join(pieces(token_ids)) == TOKENIZER.decode(token_ids, skip_special_tokens=True)


def test_an_unfinished_character_waits_for_its_last_token() -> None:
    *first, last = TOKENIZER.encode("€")
    stream = TextStream(TOKENIZER)
    assert (stream.push(first), stream.push([last])) == ("", "€")


def test_an_unfinished_character_appears_at_the_end() -> None:
    stream = TextStream(TOKENIZER)
    stream.push(TOKENIZER.encode("a€")[:-1])
    assert stream.finish() == "\ufffd"


def test_special_tokens_are_left_out() -> None:
    assert "".join(pieces([*TOKENIZER.encode("a"), TOKENIZER.eos_token_id])) == "a"


def test_a_tokenizer_without_a_streaming_decoder_is_refused() -> None:
    with pytest.raises(UsageError, match="--json"):
        TextStream(object())  # type: ignore[arg-type]
