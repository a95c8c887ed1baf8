"""Where a model's positions end, and where its rotations change, the text is still that of ``generate``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scripted import ScriptedDrafter
from tiny_engines import drafting_engine
from tiny_models import reference_greedy, tiny_tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    OPTConfig,
    Phi3Config,
    WhisperConfig,
)

from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.model.loading import LoadedModel
from specframe.model.supported import check_supported
from specframe.model.target import Target

_SIZES = {"vocab_size": 101, "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": None}
_LAYERS = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
}
_END, _BORDER = 48, 40
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0],
    "original_max_position_embeddings": _BORDER,
}

CONFIGS: dict[str, Any] = {
    "learned": GPT2Config(n_embd=64, n_layer=2, n_head=4, n_positions=_END, **_SIZES),
    "learned with an offset": OPTConfig(
        hidden_size=64,
        ffn_dim=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=64,
        max_position_embeddings=_END,
        init_std=0.3,
        vocab_size=101,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    ),
    "learned under another name": WhisperConfig(
        d_model=64,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=96,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=96,
        max_target_positions=_END,
        init_std=0.3,
        vocab_size=101,
        is_encoder_decoder=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        decoder_start_token_id=0,
        begin_suppress_tokens=None,
    ),
    "dynamic": LlamaConfig(
        max_position_embeddings=_END,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
        **_LAYERS,
        **_SIZES,
    ),
    "longrope": Phi3Config(
        max_position_embeddings=128,
        original_max_position_embeddings=_BORDER,
        rope_parameters=_LONGROPE,
        sliding_window=None,
        pad_token_id=0,
        **_LAYERS,
        **_SIZES,
    ),
}


def target_of(name: str) -> Target:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="sdpa").eval()
    model.generation_config.eos_token_id = None
    target = Target(LoadedModel(model, tiny_tokenizer(), name))
    target.stop_ids = frozenset()
    return target


def prompt(tokens: int) -> torch.Tensor:
    return torch.randint(3, 101, (tokens,), generator=torch.Generator().manual_seed(tokens))


def engine_for(target: Target, text: list[int], seed: int = 0, **settings: Any) -> Engine:
    drafter = ScriptedDrafter(target.output_head, text, seed=seed)
    return drafting_engine(target, drafter=drafter, **settings)


@pytest.mark.parametrize(
    "name", ["learned", "learned with an offset", "learned under another name", "dynamic"]
)
@pytest.mark.parametrize("tokens", [7, 30])
def test_a_request_may_fill_the_last_position(name: str, tokens: int) -> None:
    target = target_of(name)
    ids = prompt(tokens)
    expected = reference_greedy(target.model, ids, _END - tokens)
    for seed in range(4):
        report = engine_for(target, expected, seed).generate(ids, _END - tokens)
        assert report.token_ids == expected


@pytest.mark.parametrize(
    ("tokens", "new"), [(10, _BORDER + 1 - 10), (_BORDER, 1), (_BORDER + 1, 30), (60, 30)]
)
def test_rotations_that_depend_on_the_length_are_those_of_generate(tokens: int, new: int) -> None:
    target = target_of("longrope")
    ids = prompt(tokens)
    expected = reference_greedy(target.model, ids, new)
    for seed in range(4):
        report = engine_for(target, expected, seed, prefill_chunk=16).generate(ids, new)
        assert report.token_ids == expected


def test_a_request_across_the_border_is_refused_by_name() -> None:
    engine = engine_for(target_of("longrope"), [])
    with pytest.raises(UsageError, match=r"go past 40 tokens.*longrope.*at most 31, or a prompt of more"):
        engine.generate(prompt(10), 32)


def test_layers_that_have_borders_of_their_own_are_refused() -> None:
    config = Gemma3TextConfig(
        head_dim=16,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={
            "sliding_attention": _LONGROPE,
            "full_attention": _LONGROPE | {"original_max_position_embeddings": 2 * _BORDER},
        },
        **_LAYERS,
        **_SIZES,
    )
    with pytest.raises(UsageError, match=r"rotations change after different lengths, 40 and 80 tokens"):
        check_supported(config, "two borders")


def test_a_turn_that_crosses_the_border_is_read_from_the_start() -> None:
    target = target_of("longrope")
    engine, conversation, first = drafting_engine(target), object(), prompt(30)
    answer = reference_greedy(target.model, first, 8)
    assert engine.generate(first, 8, turn_of=conversation).token_ids == answer
    second = torch.cat([first, torch.tensor(answer), prompt(9)])
    expected = reference_greedy(target.model, second, 12)
    assert engine.generate(second, 12, turn_of=conversation).token_ids == expected
