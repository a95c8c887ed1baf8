"""Tokens of two tokenizers are the same if their bytes are, and the others are read piece by piece."""

from __future__ import annotations

import pytest
import torch
from other_tokenizers import byte_level, sentencepiece
from tiny_models import tiny_model, tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from specframe.errors import CheckpointError
from specframe.model.language_model import LanguageModel
from specframe.model.loading import LoadedModel
from specframe_plugins.drafters.draft_model.translated import TranslatedBackbone
from specframe_plugins.drafters.draft_model.translation import Translation

GPT = byte_level("Ġlight", "house")
LLAMA = sentencepiece("▁lighthouse", "▁light", "house")
NO_SPACE = sentencepiece("▁lighthouse", "▁light", "house", prefix_space=False)


def model_of(tokenizer: PreTrainedTokenizerFast, name: str, rows: int = 0) -> LanguageModel:
    model = tiny_model(vocab_size=rows or len(tokenizer), num_hidden_layers=1, bos_token_id=None)
    return LanguageModel(LoadedModel(model, tokenizer, name))


def translation(draft: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast) -> Translation:
    return Translation(model_of(draft, "draft"), model_of(target, "target"))


def token(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    token_id = tokenizer.convert_tokens_to_ids(text)
    assert isinstance(token_id, int)
    return token_id


@pytest.mark.parametrize(
    ("own", "theirs"), [("▁light", "Ġlight"), ("house", "house"), ("▁", "Ġ"), ("\n", "Ċ"), ("</s>", "<eos>")]
)
def test_tokens_of_the_same_bytes_are_the_same_by_whatever_convention(own: str, theirs: str) -> None:
    assert translation(LLAMA, GPT).same(token(LLAMA, own)) == token(GPT, theirs)
    assert translation(GPT, LLAMA).same(token(GPT, theirs)) == token(LLAMA, own)


def test_no_token_stands_for_two() -> None:
    between = translation(LLAMA, GPT)
    assert len(between.token_ids.unique()) == len(between.token_ids) == len(between.own_ids.unique())
    assert between.same(token(LLAMA, "▁lighthouse")) is None
    assert between.same(token(LLAMA, "<0x0A>")) is None


def test_a_token_beyond_the_rows_of_a_head_is_none() -> None:
    between = Translation(model_of(LLAMA, "draft", rows=token(LLAMA, "house")), model_of(GPT, "target"))
    assert between.same(token(LLAMA, "house")) is None
    assert len(between.own_ids)


def read(between: Translation, ids: list[int], draft: PreTrainedTokenizerFast) -> list[str]:
    backbone = TranslatedBackbone(model_of(draft, "draft"), between, beams=1, levels=0)
    backbone.keep(0)
    return draft.convert_ids_to_tokens(backbone.translated(ids)[0])


def test_a_token_that_only_the_target_has_is_read_as_several() -> None:
    ids = [token(LLAMA, "▁light"), token(LLAMA, "▁lighthouse")]
    assert read(translation(GPT, LLAMA), [token(LLAMA, "a"), *ids], GPT) == ["a", "Ġlight", "Ġlight", "house"]


def test_tokens_are_read_one_by_one_even_where_the_draft_model_would_write_them_as_one() -> None:
    ids = [token(GPT, text) for text in ("a", "Ġlight", "house")]
    assert read(translation(NO_SPACE, GPT), ids, NO_SPACE) == ["<s>", "a", "▁light", "house"]


@pytest.mark.parametrize(
    ("draft", "target", "tokens", "expected"),
    [
        (LLAMA, GPT, ["house", "Ġlight"], ["<s>", "▁", "house", "▁light"]),
        (GPT, LLAMA, ["<s>", "▁light", "house"], [*"light", "house"]),
        (NO_SPACE, LLAMA, ["<s>", "▁light", "house"], ["<s>", *"light", "house"]),
    ],
    ids=["a space is put before it", "the space before it is none of the text", "likewise, and BOS for BOS"],
)
def test_a_text_begins_as_the_draft_models_tokenizer_begins_one(
    draft: PreTrainedTokenizerFast,
    target: PreTrainedTokenizerFast,
    tokens: list[str],
    expected: list[str],
) -> None:
    ids = [token(target, text) for text in tokens]
    assert read(translation(draft, target), ids, draft) == expected


def test_a_special_token_of_the_target_alone_is_read_as_it_is_written() -> None:
    words = read(translation(GPT, LLAMA), [token(LLAMA, "a"), token(LLAMA, "<unk>"), token(LLAMA, "a")], GPT)
    assert words == ["a", *"<unk>", "a"]


def test_the_end_of_a_text_is_the_end_of_a_text() -> None:
    words = read(translation(GPT, LLAMA), [token(LLAMA, "a"), token(LLAMA, "</s>")], GPT)
    assert words == ["a", "<eos>"]


def test_what_is_written_is_told_with_where_each_token_begins() -> None:
    house = [(token(GPT, "Ġlight"), 0), (token(GPT, "house"), 6)]
    assert translation(LLAMA, GPT).written(b" lighthouse") == house


def test_tokenizers_with_hardly_a_token_in_common_are_refused_by_their_share() -> None:
    between = translation(tiny_tokenizer(), GPT)
    with pytest.raises(
        CheckpointError, match=r"draft model draft has 1 of the tokens of target, 0\.38%; allowed"
    ):
        between.check_share()
    translation(LLAMA, GPT).check_share()


def test_the_share_is_said() -> None:
    between = translation(LLAMA, GPT)
    assert str(between).endswith(
        f"it drafts {len(between.own_ids)} of {len(GPT)} tokens, {between.share:.0%}"
    )
    assert torch.equal(between.own_ids, between.own_ids.sort().values)
