"""A tokenizer whose tokens are single bytes, so that most characters take several."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_tokenizer(*words: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer; its last token is ``<eos>``. ``words`` are more tokens, of several bytes each."""
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate([*BYTES, *words])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
