"""Streamed text is the decoded text, and never breaks a character."""

from __future__ import annotations

import pytest
from byte_tokenizer import BYTES, byte_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from specframe.request.streaming import TextStream

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


@given(st.lists(st.integers(0, len(BYTES) - 1)))
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


class _SlowTokenizer:
    """A tokenizer that can only decode everything."""

    def decode(self, token_ids: list[int], skip_special_tokens: bool) -> str:
        return str(TOKENIZER.decode(token_ids, skip_special_tokens=skip_special_tokens))

    def convert_ids_to_tokens(self, token_id: int) -> str:
        return str(TOKENIZER.convert_ids_to_tokens(token_id))


@given(st.text(st.sampled_from("aé€😀")))
def test_a_tokenizer_without_a_streaming_decoder_streams_the_same(text: str) -> None:
    stream = TextStream(_SlowTokenizer())  # type: ignore[arg-type]  # nothing else is called
    shown = [*(stream.push([token_id]) for token_id in TOKENIZER.encode(text)), stream.finish()]
    assert "".join(shown) == text
    assert "\ufffd" not in "".join(shown)


def _fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of words that spells everything else in tokens of single bytes, as Llama 2's."""
    words = ["\u2581hello", "\u2581I", "\u2581do", "n", "'", "t", "\u2581", "a", "\u00e9", "."]
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    vocabulary |= {word: 256 + i for i, word in enumerate(words)}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens(["<s>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def _cleaning_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of words whose spaces are cleaned up, as BERT's and GPT's were."""
    words = ["Well", ",", "I", "do", "n't", "know", ".", "'", "m", "'s", "'ve", "?", "!", "n", "not", "a"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="a"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=True)


FALLBACK, CLEANING = _fallback_tokenizer(), _cleaning_tokenizer()


def streamed(tokenizer: PreTrainedTokenizerFast, token_ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.push([token_id]) for token_id in token_ids), stream.finish()]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, FALLBACK, CLEANING], ids=["bytes", "fallback", "cleaning"])
@given(data=st.data())
def test_the_pieces_of_ids_add_up_to_what_any_tokenizer_decodes(
    tokenizer: PreTrainedTokenizerFast, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=300))
    assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


def test_a_finished_character_before_an_unfinished_one_is_no_error() -> None:
    hello = FALLBACK.convert_tokens_to_ids("\u2581hello")
    ids = [0xC3, 0xA9, 0xFF, hello]
    assert "".join(streamed(FALLBACK, ids)) == FALLBACK.decode(ids)


def test_a_special_token_does_not_end_a_run_of_bytes() -> None:
    start = FALLBACK.convert_tokens_to_ids("<s>")
    for ids in ([0x41, start, 0xFF], [0xC3, start, 0xA9], [0x41, start, start, 0x42, start]):
        assert "".join(streamed(FALLBACK, ids)) == FALLBACK.decode(ids, skip_special_tokens=True)


def test_spaces_that_are_cleaned_up_are_never_shown() -> None:
    ids = CLEANING.convert_tokens_to_ids(["Well", ",", "I", "do", "n't", "know", "."])
    shown = streamed(CLEANING, ids)
    assert "".join(shown) == CLEANING.decode(ids) == "Well, I don't know."


def test_a_long_text_is_shown_as_it_comes() -> None:
    ids = FALLBACK.convert_tokens_to_ids(["\u2581hello", "a", "\u2581I"]) * 200
    shown = streamed(FALLBACK, ids)
    assert "".join(shown) == FALLBACK.decode(ids)
    assert all(shown[:-1])
