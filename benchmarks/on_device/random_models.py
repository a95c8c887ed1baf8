"""Models with random weights, in the shapes of real ones: nothing has to be downloaded."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from specframe.model.loading import LoadedModel

# Of SmolLM2 135M; and the same in miniature.
FULL_SIZE = {
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
}
MINIATURE = {
    "vocab_size": 307,
    "hidden_size": 96,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}


def random_llama(sizes: dict[str, int], device: str) -> LoadedModel:
    """Return a Llama of those sizes in float32; with the seed it is always the same one.

    Its weights are large enough that its text does not become one token repeated.
    """
    config = LlamaConfig(
        **sizes,  # type: ignore[arg-type]  # one type for every keyword
        initializer_range=0.3 * (64 / sizes["hidden_size"]) ** 0.5,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(device).eval()
    return LoadedModel(model, _words(sizes["vocab_size"]), "a random Llama")


def _words(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose words are ``w0`` to the last id."""
    tokenizer = Tokenizer(tokenizer_models.WordLevel({f"w{i}": i for i in range(vocab_size)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0")
