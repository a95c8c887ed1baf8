"""Tokenizers that cut one text in different ways, by different conventions, into few tokens."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def byte_level(*merged: str, letters: str = LETTERS) -> PreTrainedTokenizerFast:
    """Return a tokenizer as of GPT-2 that knows some words, ``Ġ`` for their space, and all single bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rest = [letter for letter in alphabet if letter not in letters]
    vocabulary = ["<eos>", *letters, *rest]
    merges: list[tuple[str, str]] = []
    for word in merged:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary.append(word[:end])
                merges.append((word[: end - 1], word[end - 1]))
    backend = Tokenizer(models.BPE({token: at for at, token in enumerate(vocabulary)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def sentencepiece(*words: str, prefix_space: bool = True, bos: bool = True) -> PreTrainedTokenizerFast:
    """Return a tokenizer as of Llama 2: ``▁`` for a space, one before every text, bytes, and BOS."""
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "\n", *LETTERS]
    scores = [(token, -10.0) for token in vocabulary] + [(word, -1.0) for word in words]
    backend = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    spaces = normalizers.Replace(" ", "▁")
    begins = [normalizers.Prepend("▁")] if prefix_space else []
    backend.normalizer = normalizers.Sequence([*begins, spaces])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if prefix_space else [])])
    backend.add_special_tokens([AddedToken(token, special=True) for token in ("<unk>", "<s>", "</s>")])
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
