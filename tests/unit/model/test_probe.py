"""The text that a forward is tried with shows attention that counts places in the cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer
from transformers import ElectraConfig, ElectraForCausalLM, GPTNeoConfig, GPTNeoForCausalLM

from specframe.errors import UsageError
from specframe.model.loading import LoadedModel
from specframe.model.probe import read_through_a_tree
from specframe.model.target import Target
from specframe.model.transformers_forward import TransformersForward

_WINDOW = 128


def neo() -> Any:
    """Return a model whose window counts the places of the cache, whatever mask it is given."""
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=101,
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=_WINDOW,
        max_position_embeddings=512,
        initializer_range=0.15,
    )
    return GPTNeoForCausalLM(config).eval()


@torch.inference_mode()
def error_of(model: Any, window: int | None, beside: int) -> float:
    """Return how far the last hidden states of a text just beyond the window are from the model's own."""
    ids = torch.randint(3, 101, (_WINDOW + 16,), generator=torch.Generator().manual_seed(0))
    expected = model.get_decoder()(ids[None]).last_hidden_state[0, -8:]
    found = read_through_a_tree(TransformersForward(model, {"": window}), ids, beside)[-8:]
    return float((found - expected).abs().max())


def test_as_many_nodes_beside_the_text_as_a_window_show_that_it_counts_places() -> None:
    model = neo()
    assert error_of(model, None, _WINDOW) > 20 * error_of(model, None, 0)


def test_nodes_beside_the_text_change_nothing_for_masks_that_are_taken() -> None:
    model = tiny_model("llama", max_position_embeddings=512)
    assert error_of(model, None, _WINDOW) < 1e-3


def test_an_lm_head_that_reads_something_else_is_refused_in_one_line() -> None:
    config = ElectraConfig(
        vocab_size=101,
        embedding_size=32,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        is_decoder=True,
    )
    model = ElectraForCausalLM(config).eval()
    with pytest.raises(UsageError, match="computes its logits in a way this version cannot reproduce"):
        Target(LoadedModel(model, tiny_tokenizer(), "electra"))
