"""A published EAGLE-3 head says what it says in plain steps; what is not computed is refused by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_eagle3
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import VOCAB_SIZE, tiny_target
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter
from specframe.contracts.tree import Verdict
from specframe.errors import CheckpointError
from specframe.model.target import Target
from specframe.registry.components import BuildContext
from specframe.testing import ReferenceGather
from specframe.vocabulary.draft_head import DraftHead
from specframe_plugins.drafters.components.eagle3 import Eagle3Options
from specframe_plugins.drafters.eagle.model import EagleConfig, rotary_tables
from specframe_plugins.drafters.eagle3.checkpoint import load_head
from specframe_plugins.drafters.eagle3.drafter import create
from specframe_plugins.drafters.public_config import HARMLESS, NEUTRAL

PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11])
ROOT = 51
TOKENS = torch.arange(1, VOCAB_SIZE, 2)
HIDDEN, HEADS, GROUPS, HEAD_DIM, WIDTH = 64, 4, 2, 16, 96
LAYERS = 8

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLMEagle3"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": WIDTH,
    "max_position_embeddings": 256,
    "num_attention_heads": HEADS,
    "num_key_value_heads": GROUPS,
    "num_hidden_layers": 1,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "vocab_size": VOCAB_SIZE,
    "draft_vocab_size": VOCAB_SIZE,
    "eagle_aux_hidden_state_layer_ids": [2, 4, 5],
}


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target(num_hidden_layers=LAYERS)


def tensors(**more: Tensor) -> dict[str, Tensor]:
    """Return the tensors of a head over the full vocabulary."""
    torch.manual_seed(1)
    shapes = {
        "fc.weight": (HIDDEN, 3 * HIDDEN),
        "midlayer.self_attn.q_proj.weight": (HEADS * HEAD_DIM, 2 * HIDDEN),
        "midlayer.self_attn.k_proj.weight": (GROUPS * HEAD_DIM, 2 * HIDDEN),
        "midlayer.self_attn.v_proj.weight": (GROUPS * HEAD_DIM, 2 * HIDDEN),
        "midlayer.self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD_DIM),
        "midlayer.mlp.gate_proj.weight": (WIDTH, HIDDEN),
        "midlayer.mlp.up_proj.weight": (WIDTH, HIDDEN),
        "midlayer.mlp.down_proj.weight": (HIDDEN, WIDTH),
        "lm_head.weight": (VOCAB_SIZE, HIDDEN),
    }
    found = {name: torch.randn(shape) * 2 / shape[1] ** 0.5 for name, shape in shapes.items()}
    norms = ("input_layernorm", "hidden_norm", "post_attention_layernorm")
    found |= {f"midlayer.{name}.weight": torch.rand(HIDDEN) + 0.5 for name in norms}
    found["norm.weight"] = torch.rand(HIDDEN) + 0.5
    return {**found, **more}


def scale(size: int, seed: int = 3) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) + 0.5


def write(path: Path, parts: dict[str, Tensor], settings: dict[str, Any]) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(settings))
    save_file({name: part.contiguous().clone() for name, part in parts.items()}, path / "model.safetensors")
    return path


def message(path: Path, target: Target) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_head(path, target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def drafter_of(path: Path, target: Target) -> Drafter:
    context = BuildContext(target=target, required_ids=target.required_ids)
    options = Eagle3Options(checkpoint=path, depth=5, branching=3, nodes=16, lookup=0)
    return create(options, context)


def assert_drafts_as_in_plain_steps(
    path: Path, target: Target, parts: dict[str, Tensor], settings: dict[str, Any], embedding: Tensor
) -> None:
    """Compare every node of two trees, the second after an accepted path, with its path in plain steps."""
    drafter = drafter_of(path, target)
    row_map = drafter.output_head.row_map
    gather = DraftHead(ReferenceGather(), row_map)
    gather.bind(drafter.output_head, None)
    torch.manual_seed(2)
    width = HIDDEN if settings.get("use_aux_hidden_state") is False else parts["fc.weight"].shape[1]
    features = torch.randn(len(PROMPT), width)
    clock = PhaseClock()
    clock.start()
    with torch.inference_mode():
        drafter.start(PROMPT, features)
        text, root, committed = PROMPT.tolist(), ROOT, features[-1:]
        for _ in range(2):
            tree = drafter.draft(root, committed, gather, clock)
            parents = tree.parents.tolist()
            paths: list[list[int]] = [[]]
            for node in range(1, len(tree)):
                above = paths[parents[node]]
                expected = plain_eagle3.log_probs(parts, settings, embedding, [*text, root], features, above)
                row = int(row_map.rows(tree.token_ids[node : node + 1]))
                torch.testing.assert_close(tree.log_probs[node], expected[row], rtol=1e-3, atol=1e-3)
                paths.append([*above, int(tree.token_ids[node])])
            accepted = max(paths, key=len)
            assert len(accepted) > 1
            nodes = tuple(paths.index(accepted[:depth]) for depth in range(len(accepted) + 1))
            drafter.commit(Verdict(nodes, tuple(accepted), 77, True))
            text, root = [*text, root, *accepted], 77
            committed = torch.randn(len(accepted) + 1, width)
            features = torch.cat((features, committed))


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
REDUCED = {
    "lm_head.weight": tensors()["lm_head.weight"][: len(TOKENS)],
    "d2t": TOKENS - torch.arange(len(TOKENS)),
    "t2d": torch.zeros(VOCAB_SIZE, dtype=torch.bool).index_fill(0, TOKENS, True),
}

USED: dict[str, tuple[dict[str, Any], dict[str, Tensor]]] = {
    "as published first": ({}, {}),
    "a draft vocabulary": ({"draft_vocab_size": len(TOKENS)}, REDUCED),
    "norm_before_residual": ({"norm_before_residual": True}, {}),
    "norm_output": ({"norm_output": True}, {}),
    "norm_before_fc": ({"norm_before_fc": True}, {"input_norm.weight": scale(3 * HIDDEN)}),
    "fc_norm": ({"fc_norm": True}, {f"fc_norm.{i}.weight": scale(HIDDEN, i) for i in range(3)}),
    "partial_rotary_factor": ({"partial_rotary_factor": 0.5}, {}),
    "partial rotations with biases": (
        {"partial_rotary_factor": 0.25, "attention_bias": True},
        {
            "midlayer.self_attn.q_proj.bias": scale(HEADS * HEAD_DIM),
            "midlayer.self_attn.k_proj.bias": scale(GROUPS * HEAD_DIM),
            "midlayer.self_attn.v_proj.bias": scale(GROUPS * HEAD_DIM),
        },
    ),
    "a sliding window": ({"layer_types": ["sliding_attention"], "sliding_window": 4}, {}),
    "a window smaller than a path": ({"layer_types": ["sliding_attention"], "sliding_window": 2}, {}),
    "full attention": ({"layer_types": ["full_attention"], "sliding_window": 4}, {}),
    "linear rotations": ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, {}),
    "llama3 rotations": ({"rope_scaling": LLAMA3}, {}),
    "scaled and partial rotations": ({"rope_scaling": LLAMA3, "partial_rotary_factor": 0.5}, {}),
    "a bias of fc": ({"bias": True}, {"fc.bias": scale(HIDDEN)}),
    "the target's output for features": ({"use_aux_hidden_state": False}, {}),
    "an embedding of its own": ({}, {"embed_tokens.weight": torch.randn(VOCAB_SIZE, HIDDEN)}),
}


@pytest.mark.parametrize("case", USED)
def test_a_published_head_drafts_as_in_plain_steps(case: str, tmp_path: Path, target: Target) -> None:
    changes, more = USED[case]
    settings, parts = {**CONFIG, **changes}, tensors(**more)
    if settings.get("use_aux_hidden_state") is False:
        del parts["fc.weight"], settings["eagle_aux_hidden_state_layer_ids"]
    path = write(tmp_path / "head", parts, settings)
    embedding = parts.get("embed_tokens.weight", target.model.get_input_embeddings().weight)
    assert_drafts_as_in_plain_steps(path, target, parts, settings, embedding)


@pytest.mark.parametrize(
    ("case", "nested"),
    {
        "rope_scaling beside default rope_parameters": {
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
            "rope_scaling": {"type": "linear", "factor": 4.0},
        },
        "rope_parameters alone": {
            "rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}
        },
    }.items(),
)
def test_rotations_are_found_wherever_they_stand(
    case: str, nested: dict[str, Any], tmp_path: Path, target: Target
) -> None:
    path = write(tmp_path / "head", tensors(), {**CONFIG, **nested})
    plain = {**CONFIG, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}
    embedding = target.model.get_input_embeddings().weight
    assert_drafts_as_in_plain_steps(path, target, tensors(), plain, embedding)


def test_keys_of_eagle_config_count_as_those_beside_it(tmp_path: Path, target: Target) -> None:
    inner = {"norm_before_fc": True, "use_last_layernorm": True, "parallel_draft_step": 1}
    parts = tensors(**{"input_norm.weight": scale(3 * HIDDEN)})
    path = write(tmp_path / "head", parts, {**CONFIG, "eagle_config": inner})
    assert load_head(path, target).head.config.norm_before_fc


def test_a_norm_that_no_key_speaks_of_is_there_where_its_weights_are(tmp_path: Path, target: Target) -> None:
    parts = tensors(**{f"fc_norm.{i}.weight": scale(HIDDEN, i) for i in range(3)})
    assert load_head(write(tmp_path / "head", parts, CONFIG), target).head.config.fc_norm


def test_an_embedding_that_is_the_targets_is_not_kept_twice(tmp_path: Path, target: Target) -> None:
    parts = tensors(**{"embed_tokens.weight": target.model.get_input_embeddings().weight.detach()})
    loaded = load_head(write(tmp_path / "head", parts, CONFIG), target)
    assert loaded.embed_tokens(target) is target.embed_tokens


def test_without_an_lm_head_the_targets_proposes(tmp_path: Path, target: Target) -> None:
    parts = tensors()
    del parts["lm_head.weight"]
    loaded = load_head(write(tmp_path / "head", parts, CONFIG), target)
    assert loaded.output_head(target) is target.output_head


def test_a_tied_lm_head_is_the_heads_own_embedding(tmp_path: Path, target: Target) -> None:
    own = torch.randn(VOCAB_SIZE, HIDDEN)
    parts = tensors(**{"embed_tokens.weight": own})
    del parts["lm_head.weight"]
    path = write(tmp_path / "head", parts, {**CONFIG, "tie_word_embeddings": True})
    torch.testing.assert_close(load_head(path, target).output_head(target).weight, own)


def test_offsets_of_zero_over_the_full_vocabulary_are_no_map(tmp_path: Path, target: Target) -> None:
    maps = {"d2t": torch.zeros(VOCAB_SIZE, dtype=torch.int64), "t2d": torch.ones(VOCAB_SIZE).bool()}
    loaded = load_head(write(tmp_path / "head", tensors(**maps), CONFIG), target)
    assert not loaded.row_map.reduced


def test_a_config_of_speculators_without_the_key_norms_before_the_residual(
    tmp_path: Path, target: Target
) -> None:
    settings = {
        "speculators_model_type": "eagle3",
        "draft_vocab_size": VOCAB_SIZE,
        "eagle_aux_hidden_state_layer_ids": [2, 4, 5],
        "transformer_layer_config": {
            name: CONFIG[name] for name in CONFIG if "draft" not in name and "aux" not in name
        },
    }
    assert load_head(write(tmp_path / "head", tensors(), settings), target).head.config.norm_before_residual


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"frobnicate": 3}, "'frobnicate', which is not known here"),
    "interleaved": ({"rope_interleave": True}, "rope_interleave True; allowed: False"),
    "text for a flag": ({"norm_before_residual": "false"}, "norm_before_residual 'false'; allowed: true"),
    "number for a flag": ({"norm_output": 1}, "norm_output 1; allowed: true or false"),
    "text for a size": ({"hidden_size": "64"}, "hidden_size '64'; allowed: a positive integer"),
    "float for a size": ({"num_attention_heads": 4.0}, "num_attention_heads 4.0; allowed: a positive"),
    "float for groups": ({"num_key_value_heads": 2.0}, "num_key_value_heads 2.0; allowed: a positive"),
    "text for rows": ({"draft_vocab_size": "101"}, "draft_vocab_size '101'; allowed: a positive integer"),
    "text for the base": ({"rope_theta": "500"}, "rope_theta '500'; allowed: a positive number"),
    "text for eps": ({"rms_norm_eps": "1e-5"}, "rms_norm_eps '1e-5'; allowed: a positive number"),
    "list for a section": (
        {"transformer_layer_config": [1]},
        "transformer_layer_config [1]; allowed: an obj",
    ),
    "list for eagle_config": ({"eagle_config": [1]}, "eagle_config [1]; allowed: an object"),
    "two values": ({"eagle_config": {"norm_output": True}, "norm_output": False}, "norm_output False, and"),
    "window without a kind": ({"sliding_window": 8}, "sliding_window 8 and no layer_types"),
    "another kind of layer": ({"layer_types": ["chunked_attention"]}, "layer_types ['chunked_attention']"),
    "two kinds of layers": ({"layer_types": ["full_attention"] * 2}, "layer_types ['full_attention', "),
    "rotations by length": ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'; allowed"),
    "a factor of no kind": ({"rope_scaling": {"factor": 2.0}}, "factor 2.0 for rotary embeddings 'default'"),
    "no factor": ({"rope_scaling": {"rope_type": "linear"}}, "lacks 'factor'"),
    "two scalings": (
        {"rope_scaling": {"rope_type": "linear", "factor": 2}, "rope_parameters": LLAMA3},
        "rope_type 'llama3', and 'linear'",
    ),
    "two bases": ({"rope_parameters": {"rope_theta": 10.0}}, "rope_theta 500.0, and 10.0"),
    "too much rotated": ({"partial_rotary_factor": 1.5}, "partial_rotary_factor 1.5"),
    "an odd part rotated": ({"partial_rotary_factor": 0.07}, "of which 1 are rotated"),
    "quantized": ({"quantization_config": {"quant_method": "fp8"}}, "'quantization_config', which"),
    "scaled logits": ({"logit_scale": 0.5}, "logit_scale 0.5; allowed: 1.0"),
    "two layers": ({"num_hidden_layers": 2}, "2 layers; allowed"),
    "another type": ({"model_type": "qwen3"}, "model_type 'qwen3'; allowed: 'llama'"),
    "no last norm": ({"eagle_config": {"use_last_layernorm": False}}, "use_last_layernorm False"),
    "parallel drafts": ({"eagle_config": {"parallel_draft_step": 4}}, "parallel_draft_step 4"),
    "biases it lacks": ({"attention_bias": True}, "attention_bias true, and the checkpoint lacks"),
    "fc's bias it lacks": ({"bias": True}, "bias true, and the checkpoint lacks fc.bias"),
    "a norm it lacks": ({"norm_before_fc": True}, "no tensor input_norm.weight"),
    "norms it lacks": ({"fc_norm": True}, "no tensor fc_norm.0.weight"),
    "features beside an output": ({"use_aux_hidden_state": False}, "unexpected tensor fc.weight"),
    "unordered features": ({"eagle_aux_hidden_state_layer_ids": [5, 4, 2]}, "allowed: ascending, [2, 4, 5]"),
    "text for layers": ({"eagle_aux_hidden_state_layer_ids": "2,4,5"}, "'2,4,5'; allowed: a list of layers"),
    "another number of features": ({"num_aux_hidden_states": 4}, "num_aux_hidden_states 4; allowed: 3"),
    "no room": ({"max_position_embeddings": "2048"}, "max_position_embeddings '2048'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_computed_is_refused_by_name(case: str, tmp_path: Path, target: Target) -> None:
    changes, expected = REFUSED[case]
    assert expected in message(write(tmp_path / "head", tensors(), {**CONFIG, **changes}), target)


def broken() -> dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]]:
    name = "midlayer.mlp.up_proj.weight"
    return {
        "two names": (
            lambda t: t.update({"layers.0.mlp.up_proj.weight": t[name] + 1}),
            "which are one tensor",
        ),
        "two names at the top": (
            lambda t: t.update({"model.norm.weight": t["norm.weight"]}),
            "which are one tensor",
        ),
        "a tensor of nothing": (lambda t: t.update({"gate.weight": torch.ones(2)}), "tensor gate.weight"),
        "frequencies of another base": (
            lambda t: t.update(
                {"midlayer.self_attn.rotary_emb.inv_freq": 10_000.0 ** -(torch.arange(0, 16, 2) / 16)}
            ),
            "inv_freq in",
        ),
        "integers": (lambda t: t.update({name: t[name].long()}), f"{name} is int64"),
        "eight bits": (
            lambda t: t.update({name: t[name].to(torch.float8_e4m3fn)}),
            f"{name} is float8_e4m3fn",
        ),
        "a number for a mask": (lambda t: t.update({"t2d": torch.tensor(True)}), "t2d is []"),
        "floats for a mask": (lambda t: t.update({"t2d": torch.ones(VOCAB_SIZE)}), "t2d is torch.float32"),
        "a mask that leaves tokens out": (
            lambda t: t.update({"t2d": torch.arange(VOCAB_SIZE) > 5}),
            "t2d in",
        ),
        "floats for offsets": (lambda t: t.update({"d2t": torch.zeros(VOCAB_SIZE)}), "d2t is torch.float32"),
        "another embedding": (
            lambda t: t.update({"embed_tokens.weight": torch.ones(VOCAB_SIZE, 32)}),
            "embed_tokens.weight is [101, 32]",
        ),
        "integers for an embedding": (
            lambda t: t.update({"embed_tokens.weight": torch.ones(VOCAB_SIZE, HIDDEN).long()}),
            "embed_tokens.weight is int64",
        ),
    }


@pytest.mark.parametrize("case", broken())
def test_a_tensor_that_fits_nothing_is_refused_by_name(case: str, tmp_path: Path, target: Target) -> None:
    change, expected = broken()[case]
    parts = tensors()
    change(parts)
    assert expected in message(write(tmp_path / "head", parts, CONFIG), target)


def test_frequencies_that_follow_from_the_config_may_be_stored_too(tmp_path: Path, target: Target) -> None:
    name, frequencies = "midlayer.self_attn.rotary_emb.inv_freq", 500.0 ** -(torch.arange(0, 16, 2) / 16)
    load_head(write(tmp_path / "head", tensors(**{name: frequencies}), CONFIG), target)


def test_a_draft_vocabulary_needs_an_lm_head(tmp_path: Path, target: Target) -> None:
    parts = tensors(**REDUCED)
    del parts["lm_head.weight"]
    settings = {**CONFIG, "draft_vocab_size": len(TOKENS)}
    assert "no tensor lm_head.weight" in message(write(tmp_path / "head", parts, settings), target)


def test_a_list_for_the_config_of_the_layer_is_refused(tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "head", tensors(), {"transformer_layer_config": ["llama"]})
    assert "transformer_layer_config ['llama']; allowed: an object" in message(path, target)


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_a_harmless_key_changes_nothing(name: str, tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "head", tensors(), {**CONFIG, name: "whatever"})
    bare = write(tmp_path / "bare", tensors(), CONFIG)
    assert load_head(path, target).head.config == load_head(bare, target).head.config


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_a_key_of_one_meaning_is_refused_with_another(name: str, tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "head", tensors(), {**CONFIG, name: "something else"})
    assert name.removeprefix("num_hidden_") in message(path, target)


WARNED: dict[str, tuple[dict[str, Any], str]] = {
    "positions": ({"max_position_embeddings": 64}, "was trained for 64 positions and tiny-llama has 256"),
    "guessed": (
        {"eagle_aux_hidden_state_layer_ids": None},
        "does not say which layers its features are of; taken: 2, 4, 5",
    ),
    "equal": ({"eagle_aux_hidden_state_layer_ids": [2, 4, 4]}, "reads one layer twice: 2, 4, 4"),
    "shifted": ({"eagle_aux_hidden_state_layer_ids": [1, 3, 4]}, "one beside the usual 2, 4, 5"),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_may_be_meant_otherwise_is_a_warning(
    case: str, tmp_path: Path, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    changes, expected = WARNED[case]
    with caplog.at_level(logging.WARNING):
        load_head(write(tmp_path / "head", tensors(), {**CONFIG, **changes}), target)
    assert expected in caplog.text


def test_a_head_that_says_everything_loads_without_a_warning(
    tmp_path: Path, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_head(write(tmp_path / "head", tensors(), CONFIG), target)
    assert not caplog.text


def test_yarn_rotations_are_those_of_transformers() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "mscale": 0.7}
    model = LlamaConfig(
        hidden_size=HIDDEN,
        num_attention_heads=HEADS,
        max_position_embeddings=256,
        rope_parameters={**scaling, "rope_theta": 500.0},
    )
    positions = torch.arange(100)
    expected = LlamaRotaryEmbedding(model)(torch.zeros(1), positions[None])
    sizes = {"vocab_size": 1, "intermediate_size": 1, "num_key_value_heads": 1, "rope_theta": 500.0}
    config = EagleConfig(
        hidden_size=HIDDEN,
        num_attention_heads=HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=256,
        rope_scaling=scaling,
        **sizes,
    )
    for found, table in zip(rotary_tables(config, positions), expected, strict=True):
        torch.testing.assert_close(found, table[0])


ODD: tuple[Any, ...] = ("x", "", [], [1], {}, {"a": 1}, 1.5, -1, 0, True, False, 10**30, float("nan"))
ASKED = (
    *("attention_bias", "bias", "draft_vocab_size", "eagle_aux_hidden_state_layer_ids", "eagle_config"),
    *("fc_norm", "head_dim", "hidden_act", "hidden_size", "intermediate_size", "layer_types"),
    *("max_position_embeddings", "norm_before_fc", "norm_before_residual", "norm_output"),
    *("num_attention_heads", "num_aux_hidden_states", "num_hidden_layers", "num_key_value_heads"),
    *("partial_rotary_factor", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta"),
    *("sliding_window", "target_hidden_size", "tie_word_embeddings", "transformer_layer_config"),
    *("use_aux_hidden_state", "use_sliding_window", "vocab_size", "architectures", "num_aux_layers"),
)


@pytest.mark.parametrize("name", ASKED)
def test_an_odd_value_is_refused_in_one_line_or_taken(name: str, tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "head", tensors(), CONFIG)
    said = []
    for value in ODD:
        (path / "config.json").write_text(json.dumps({**CONFIG, name: value}))
        said.append(refusal_of(path, target))
    assert not [line for line in said if "\n" in line]


@pytest.mark.parametrize("layers", [0, False, "", {}])
def test_what_names_no_layers_is_not_taken_for_a_key_that_is_missing(
    layers: Any, tmp_path: Path, target: Target
) -> None:
    path = write(tmp_path / "head", tensors(), {**CONFIG, "eagle_aux_hidden_state_layer_ids": layers})
    assert "allowed: a list of layers" in message(path, target)


def refusal_of(path: Path, target: Target) -> str:
    """Return what is wrong with a head; nothing where it loads."""
    try:
        load_head(path, target)
    except CheckpointError as error:
        return str(error)
    return ""
