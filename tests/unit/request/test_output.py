"""The output of a request ends where it was asked to end, in its ids and in its text."""

from __future__ import annotations

from typing import Any

import pytest
from byte_tokenizer import BYTES, byte_tokenizer
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from specframe.request.output import Output
from specframe.request.request import Request

_WORDS = ("Ġnever", "Ġmore.Ċ")
TOKENIZER = byte_tokenizer(*_WORDS)
NEVER, MORE, EOS = len(BYTES), len(BYTES) + 1, len(BYTES) + 2


def output(limit: int = 99, **settings: Any) -> Output:
    return Output(Request("", **settings), limit, TOKENIZER, frozenset({EOS}))


def ids(text: str) -> list[int]:
    return [int(i) for i in TOKENIZER.encode(text)]


def test_a_stop_string_over_several_tokens_cuts_the_text_right_before_it() -> None:
    found = output(stop="and")
    found.add(ids("salt and sand"))
    assert (found.text, found.finish_reason) == ("salt ", "stop")


def test_the_ids_end_with_the_token_that_completes_the_stop_string() -> None:
    found = output(stop="and")
    found.add(ids("salt and sand"))
    assert found.token_ids == ids("salt and")


def test_a_stop_string_may_begin_and_end_in_the_middle_of_tokens() -> None:
    found = output(stop="er mo")
    found.add([NEVER, MORE, *ids("x")])
    assert (found.text, found.token_ids) == (" nev", [NEVER, MORE])


def test_the_end_of_a_token_that_may_begin_a_stop_string_is_held_back() -> None:
    found = output(stop=".\n\n")
    assert found.add([MORE]).text == " more"
    assert found.add(ids("x")).text == ".\nx"


def test_a_stop_string_of_several_bytes_a_character_never_breaks_one() -> None:
    found = output(stop="😀")
    pieces = [found.add([token_id]).text for token_id in ids("é😁😀x")]
    assert "".join(pieces) == "é😁"
    assert "\ufffd" not in "".join(pieces)


def test_a_stop_string_is_found_in_a_token_that_also_begins_a_character() -> None:
    tokenizer = byte_tokenizer("endÃ")  # the last letter stands for the byte 0xC3, which begins one
    found = Output(Request("", stop="end"), 99, tokenizer, frozenset())
    found.add([len(BYTES)] * 40)
    assert (found.text, len(found.token_ids), found.finish_reason) == ("", 1, "stop")


def test_a_stop_string_is_found_among_bytes_that_may_go_on() -> None:
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    found = Output(Request("", stop="é"), 99, tokenizer, frozenset())
    found.add([*"aé".encode(), *"😀😀".encode()])
    assert (found.text, len(found.token_ids), found.finish_reason) == ("a", 3, "stop")


def test_a_stop_id_ends_the_text_before_its_token() -> None:
    found = output(stop_ids=[MORE])
    found.add([NEVER, MORE, NEVER])
    assert (found.text, found.token_ids, found.finish_reason) == (" never", [NEVER, MORE], "stop")


def test_a_special_token_as_a_stop_string_is_looked_for_among_the_ids() -> None:
    found = Output(Request("", stop="<eos>"), 9, TOKENIZER, frozenset())
    found.add([NEVER, EOS, NEVER])
    assert (found.text, found.token_ids, found.finish_reason) == (" never", [NEVER, EOS], "stop")


def test_the_end_of_sequence_wins_over_the_length() -> None:
    found = output(limit=2)
    found.add([NEVER, EOS])
    assert (found.token_ids, found.finish_reason) == ([NEVER, EOS], "eos")


def test_the_length_counts_tokens_and_shows_what_was_held_back() -> None:
    found = output(limit=3, stop="abcd")
    found.add(ids("abcde"))
    assert (found.text, found.token_ids, found.finish_reason) == ("abc", ids("abc"), "length")


def test_until_is_asked_after_every_token() -> None:
    asked = []

    def until(token_ids: Any) -> bool:
        asked.append(len(token_ids))
        return len(token_ids) == 3

    found = output(until=until)
    found.add(ids("ab"))
    chunk = found.add(ids("cd"))
    assert (asked, chunk.token_ids, found.finish_reason) == ([1, 2, 3], tuple(ids("c")), "stop")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunks_of_any_size_make_the_same_output(size: int) -> None:
    text, found = ids("one € two.\nUser: three"), output(stop=["\nUser:"])
    parts = (text[start : start + size] for start in range(0, len(text), size))
    chunks = [found.add(part) for part in parts if found.finish_reason is None]
    assert "".join(chunk.text for chunk in chunks) == found.text == "one € two."
    assert [i for chunk in chunks for i in chunk.token_ids] == found.token_ids == ids("one € two.\nUser:")
