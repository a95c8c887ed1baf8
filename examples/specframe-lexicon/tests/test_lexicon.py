from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import specframe_lexicon
import torch
from specframe_lexicon.component import COMPONENT
from specframe_lexicon.strategy import LexiconVocabulary
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from specframe.contracts.options import build_options
from specframe.contracts.tree import DraftTree, Verdict
from specframe.errors import UsageError
from specframe.registry.components import BuildContext
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.testing import check_vocabulary_builder

WORDS = ["<eos>", "mean", "median", "sample", "cat", "dog", *(f"w{i}" for i in range(26))]
EOS_ID, MEAN_ID, MEDIAN_ID = 0, 1, 2


def build(**options: Any) -> LexiconVocabulary:
    """Return the strategy for a target whose tokenizer knows only ``WORDS``."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    target: Any = SimpleNamespace(
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer), vocab_size=len(WORDS)
    )
    context = BuildContext(target=target, required_ids=torch.tensor([EOS_ID]))
    built: LexiconVocabulary = COMPONENT.factory(
        build_options(COMPONENT.options, options, "lexicon"), context
    )
    return built


@pytest.fixture
def words(tmp_path: Path) -> str:
    path = tmp_path / "words.txt"
    path.write_text("mean\n\n  median  \n")
    return str(path)


def test_specframe_finds_the_strategy_through_its_hook() -> None:
    manager = create_plugin_manager(entry_points=False)
    manager.register(specframe_lexicon)
    assert build_registry(manager).names("vocabulary") == ["lexicon"]


@pytest.mark.parametrize("options", [{}, {"capacity": "7"}], ids=str)
def test_it_keeps_the_promises_of_its_protocol(words: str, options: dict[str, str]) -> None:
    check_vocabulary_builder(build(words=words, **options), len(WORDS))


def test_the_words_are_always_active_and_so_is_what_the_target_requires(words: str) -> None:
    assert build(words=words).pinned_ids.tolist() == [EOS_ID, MEAN_ID, MEDIAN_ID]


def test_without_a_file_the_packaged_lexicon_is_used() -> None:
    assert {MEAN_ID, MEDIAN_ID} <= set(build().pinned_ids.tolist())


def test_the_context_joins_the_lexicon(words: str) -> None:
    builder = build(words=words)
    verdict = Verdict(path=(0,), accepted_ids=(), next_token=5, path_ends_at_leaf=True)
    assert builder.start(torch.tensor([8, 9]), None).tolist() == [8, 9]
    assert builder.observe(verdict, DraftTree.root_only(4), None).tolist() == [4, 5]


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "cannot read"), (b"\n\n", "is empty"), (b"\xff", "utf-8")]
)
def test_a_file_without_words_is_one_clear_line(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        build(words=str(path))
