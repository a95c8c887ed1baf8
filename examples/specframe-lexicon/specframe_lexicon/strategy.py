"""Strategy ``lexicon``: the tokens of a word list are always active; the context joins them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.tree import DraftTree, Verdict
from specframe.errors import UsageError
from specframe.registry.components import BuildContext
from specframe_lexicon.component import LexiconOptions

STATISTICS_WORDS = Path(__file__).with_name("statistics.txt")


class LexiconVocabulary(VocabularyBuilder):
    """Pins the lexicon; admits the tokens of the prompt and of the output, the least recent leave first."""

    eviction = "lru"

    def __init__(self, capacity: int, pinned_ids: Tensor) -> None:
        self.capacity = capacity
        self.pinned_ids = pinned_ids

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        """Return the prompt [T]."""
        return prompt_ids

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        """Return the root and the emitted tokens [n]."""
        emitted = torch.tensor(verdict.emitted_ids).to(tree.token_ids.device, non_blocking=True)
        return torch.cat([tree.token_ids[:1], emitted])


def lexicon_ids(words: list[str], tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Return the ids of all words [n] int64, without repetitions, rising.

    A word has other ids at the start of a line than after a space; both are taken.
    """
    written = [form for word in words for form in (word, f" {word}")]
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    return torch.tensor(sorted({token_id for word in ids for token_id in word}), dtype=torch.int64)


def read_words(path: Path) -> list[str]:
    """Return the lines of a word list that are not empty.

    Raises:
        UsageError: the file cannot be read or holds no word.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the lexicon {path}: {error}") from None
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        raise UsageError(f"the lexicon {path} is empty; allowed: one word or phrase per line")
    return words


def build(options: LexiconOptions, context: BuildContext) -> LexiconVocabulary:
    """Return the strategy.

    Raises:
        UsageError: the word list cannot be read or holds no word.
    """
    words = read_words(options.words or STATISTICS_WORDS)
    ids = lexicon_ids(words, context.target.tokenizer).to(context.required_ids.device)
    capacity = min(options.capacity, context.target.vocab_size)
    return LexiconVocabulary(capacity, torch.unique(torch.cat([context.required_ids, ids])))
