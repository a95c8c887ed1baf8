"""A tiny random target, made in a second, and components that are built for it as an engine builds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from specframe.contracts.options import build_options
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.registry.components import BuildContext, Component

VOCAB_SIZE = 101
EOS_ID = 1
# Of the config; with such large weights greedy text does not collapse into one token.
TINY_CONFIG: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": EOS_ID,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}


def tiny_tokenizer(vocab_size: int = VOCAB_SIZE) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words: ``<pad>``, ``<eos>``, ``<unk>``, then ``w3``, ``w4``, ... by id."""
    vocabulary = {"<pad>": 0, "<eos>": EOS_ID, "<unk>": 2}
    vocabulary |= {f"w{i}": i for i in range(3, vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def tiny_target(vocab_size: int = VOCAB_SIZE, *, seed: int = 0, **config: Any) -> Target:
    """Return a random Llama of transformers in float32 on the CPU, with a tokenizer.

    Its greedy text is no sense, and does not collapse into one token.

    Args:
        vocab_size: V.
        seed: of its weights; torch's global generator stays as it is.
        config: entries of its ``LlamaConfig`` that differ: three layers of width 64 by default.
    """
    settings = LlamaConfig(**{"vocab_size": vocab_size, **TINY_CONFIG, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(settings, attn_implementation="sdpa")
    model = model.eval().requires_grad_(False)
    return Target(LoadedModel(model, tiny_tokenizer(vocab_size), "tiny-llama"))


def build_component(component: Component, target: Target, **options: Any) -> Any:
    """Return what a component's factory makes for a target.

    Args:
        component: as its plugin registers it.
        target: such as ``tiny_target()``.
        options: of the component, as text or as values; the others have their defaults.

    Raises:
        UsageError: an option is unknown or out of range.
    """
    built = build_options(component.options, options, component.name)
    return component.factory(built, BuildContext(target=target, required_ids=target.required_ids))
