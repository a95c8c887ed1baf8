"""Text is divided among the tokens that it came from, and all of it is shown."""

from __future__ import annotations

from byte_tokenizer import byte_tokenizer
from shown import Told, drafted
from tiny_models import tiny_tokenizer

from specframe.cli.shown.origins import FIRST, Origins
from specframe.cli.shown.story import Story
from specframe.request.output import Chunk


def test_every_token_shows_its_own_piece() -> None:
    told = Told(tiny_tokenizer(), 5, drafted(5, [6, 7], 8), drafted(8, [], 9, "oov", rejected=[1]))
    assert [token.text for token in told.story.tokens] == ["w5", " w6", " w7", " w8", " w9"]
    assert [token.step for token in told.story.tokens] == [None, 0, 0, 0, 1]
    assert told.story.tokens[0].origin is FIRST


def test_a_character_is_shown_by_the_token_that_finishes_it() -> None:
    tokenizer = byte_tokenizer()
    first, *ids = tokenizer.encode("日本", add_special_tokens=False)
    told = Told(tokenizer, first, drafted(first, ids[:3], ids[3]), drafted(ids[3], [], ids[4]))
    assert [token.text for token in told.story.tokens] == ["", "", "日", "", "", "本"]


def test_a_character_that_was_never_finished_is_shown_all_the_same() -> None:
    tokenizer = byte_tokenizer()
    first, second, _ = tokenizer.encode("日", add_special_tokens=False)
    told = Told(tokenizer, first, drafted(first, [], second))
    assert "".join(token.text for token in told.story.tokens) == "\ufffd"


def test_text_that_a_stop_string_held_back_stays_with_its_token() -> None:
    story = Story(tiny_tokenizer(), Origins("eagle", has_head=True))
    assert [span.text for span in story.add(Chunk((5,), ""))] == []
    story.note(drafted(5, [6], 7))
    assert [(span.text, span.token.token_id) for span in story.add(Chunk((6, 7), "w5 w6 w"))] == [
        ("w5", 5),
        (" w6", 6),
        (" w", 7),
    ]


def test_tokens_of_one_source_in_one_pass_go_on_and_others_do_not() -> None:
    told = Told(tiny_tokenizer(), 5, drafted(5, [6, 7], 8), drafted(8, [9], 10))
    assert [token.goes_on for token in told.story.tokens] == [False, False, True, False, False, False]
