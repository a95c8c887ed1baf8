"""Streamed text is the decoded text, and never breaks a character."""

from __future__ import annotations

from byte_tokenizer import BYTES, byte_tokenizer
from hypothesis import given
from hypothesis import strategies as st

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


@given(st.text(st.sampled_from("aé€😀")))
def test_a_tokenizer_without_a_streaming_decoder_streams_the_same(text: str) -> None:
    stream = TextStream(_SlowTokenizer())  # type: ignore[arg-type]  # nothing else is called
    shown = [*(stream.push([token_id]) for token_id in TOKENIZER.encode(text)), stream.finish()]
    assert "".join(shown) == text
    assert "\ufffd" not in "".join(shown)
