"""EAGLE-3 heads on disk: every public layout loads, and every mismatch is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import VOCAB_SIZE, tiny_target
from torch import Tensor

from specframe.errors import CheckpointError
from specframe.model.target import Target
from specframe_plugins.drafters.eagle3.checkpoint import load_head, save_head
from specframe_plugins.drafters.eagle3.model import Eagle3Head, for_target

TOKENS = torch.tensor([1, 2, 3, 7, 8, 20, 21, 40, 99, 100])

PUBLIC_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLMEagle3"],
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 1,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCAB_SIZE,
    "draft_vocab_size": len(TOKENS),
}


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target(num_hidden_layers=6)


def head_for(target: Target, **options: Any) -> Eagle3Head:
    torch.manual_seed(0)
    return Eagle3Head(for_target(target.config, **options))


def maps(tokens: Tensor = TOKENS) -> dict[str, Tensor]:
    has_row = torch.zeros(VOCAB_SIZE, dtype=torch.bool)
    has_row[tokens] = True
    return {"d2t": tokens - torch.arange(len(tokens)), "t2d": has_row}


def public_tensors(target: Target, **options: Any) -> dict[str, Tensor]:
    head = head_for(target, **{"draft_vocab_size": len(TOKENS), **options})
    return {**{name: tensor.detach() for name, tensor in head.state_dict().items()}, **maps()}


def write(path: Path, tensors: dict[str, Tensor], **settings: Any) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({**PUBLIC_CONFIG, **settings}))
    save_file(tensors, path / "model.safetensors")
    return path


def message(path: Path, target: Target) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_head(path, target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_saved_reduced_head_loads_with_the_same_config_weights_and_tokens(
    tmp_path: Path, target: Target
) -> None:
    saved = head_for(target, draft_vocab_size=len(TOKENS), tokenizer_fingerprint=target.tokenizer_fingerprint)
    save_head(saved, TOKENS, tmp_path / "head")
    loaded = load_head(tmp_path / "head", target)
    assert loaded.head.config == saved.config
    assert loaded.row_map.token_ids is not None
    assert loaded.row_map.token_ids.tolist() == TOKENS.tolist()
    for name, tensor in saved.state_dict().items():
        torch.testing.assert_close(loaded.head.state_dict()[name], tensor)


def test_a_saved_full_head_has_a_row_for_every_token(tmp_path: Path, target: Target) -> None:
    save_head(head_for(target), None, tmp_path / "head")
    assert not load_head(tmp_path / "head", target).row_map.reduced


def test_a_public_checkpoint_takes_its_tokens_from_the_offsets(tmp_path: Path, target: Target) -> None:
    loaded = load_head(write(tmp_path / "public", public_tensors(target)), target)
    assert loaded.row_map.token_ids is not None
    assert loaded.row_map.token_ids.tolist() == TOKENS.tolist()
    assert loaded.head.config.feature_layers == (2, 3, 3)
    assert loaded.head.lm_head.weight.shape == (len(TOKENS), target.hidden_size)


def test_a_checkpoint_may_call_its_layer_layers_0(tmp_path: Path, target: Target) -> None:
    tensors = public_tensors(target)
    renamed = {name.replace("midlayer.", "layers.0."): tensor for name, tensor in tensors.items()}
    loaded = load_head(write(tmp_path / "public", renamed), target)
    weight = loaded.head.midlayer.self_attn.q_proj.weight
    torch.testing.assert_close(weight, tensors["midlayer.self_attn.q_proj.weight"])


def test_a_checkpoint_of_the_speculators_layout_loads(tmp_path: Path, target: Target) -> None:
    nested = {"transformer_layer_config": PUBLIC_CONFIG, "draft_vocab_size": len(TOKENS)}
    path = tmp_path / "public"
    path.mkdir()
    settings = {**nested, "eagle_aux_hidden_state_layer_ids": [1, 2, 6], "norm_before_residual": True}
    (path / "config.json").write_text(json.dumps(settings))
    save_file(public_tensors(target, feature_layers=(1, 2, 6)), path / "model.safetensors")
    config = load_head(path, target).head.config
    assert (config.feature_layers, config.norm_before_residual) == ((1, 2, 6), True)


def test_a_head_of_another_width_brings_its_own_embedding(tmp_path: Path, target: Target) -> None:
    sizes: dict[str, Any] = {"hidden_size": 32, "head_dim": 8}
    tensors = public_tensors(target, own_embedding=True, **sizes)
    loaded = load_head(write(tmp_path / "public", tensors, **sizes), target)
    assert loaded.head.embed_tokens.weight.shape == (VOCAB_SIZE, 32)


def test_a_head_of_another_width_without_an_embedding_is_refused(tmp_path: Path, target: Target) -> None:
    sizes: dict[str, Any] = {"hidden_size": 32, "head_dim": 8}
    assert "no embed_tokens.weight" in message(
        write(tmp_path / "public", public_tensors(target, **sizes), **sizes), target
    )


def test_a_sharded_checkpoint_loads(tmp_path: Path, target: Target) -> None:
    path, tensors = write(tmp_path / "public", {}), public_tensors(target)
    (path / "model.safetensors").unlink()
    halves = [dict(list(tensors.items())[:5]), dict(list(tensors.items())[5:])]
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weight_map = {}
    for name, half in zip(names, halves, strict=True):
        save_file(half, path / name)
        weight_map |= dict.fromkeys(half, name)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert load_head(path, target).row_map.reduced


def test_a_missing_shard_is_named(tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "public", {})
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"fc.weight": "lost.safetensors"}})
    )
    assert "no shard lost.safetensors" in message(path, target)


@pytest.mark.parametrize("shard", [1, None, ["a"]])
def test_an_index_whose_shards_are_no_names_is_corrupt(shard: Any, tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "public", {})
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"fc.weight": shard}}))
    assert "model.safetensors.index.json is corrupt" in message(path, target)


def test_a_tensor_in_two_shards_is_named(tmp_path: Path, target: Target) -> None:
    path, tensors = write(tmp_path / "public", {}), public_tensors(target)
    (path / "model.safetensors").unlink()
    save_file(tensors, path / "a.safetensors")
    save_file({"fc.weight": tensors["fc.weight"] * 2}, path / "b.safetensors")
    weight_map = dict.fromkeys(tensors, "a.safetensors") | {"norm.weight": "b.safetensors"}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "has fc.weight in several shards; allowed: in one" in message(path, target)


@pytest.mark.parametrize(
    "content", [{1: torch.zeros(2)}, {"fc.weight": torch.zeros(2, device="meta")}], ids=["numbers", "meta"]
)
def test_a_bin_file_without_names_or_values_is_corrupt(
    content: dict[Any, Tensor], tmp_path: Path, target: Target
) -> None:
    path = write(tmp_path / "public", {})
    (path / "model.safetensors").unlink()
    torch.save(content, path / "pytorch_model.bin")
    assert "something else than named tensors" in message(path, target)


def test_a_key_that_stands_twice_in_a_config_is_named(tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "public", {})
    text = (path / "config.json").read_text()
    (path / "config.json").write_text(text.rstrip().removesuffix("}") + ', "hidden_act": "gelu"}')
    assert "it has 'hidden_act' twice" in message(path, target)


def test_pickled_code_is_never_run(tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "public", {})
    (path / "model.safetensors").unlink()
    torch.save({"fc.weight": Path}, path / "pytorch_model.bin")
    assert "is corrupt" in message(path, target)


def broken_maps() -> dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]]:
    return {
        "no offsets": (lambda t: t.pop("d2t"), "no d2t"),
        "beyond the vocabulary": (lambda t: t["d2t"].add_(5), "token id 104; allowed: 0 to 100"),
        "token ids for offsets": (lambda t: t["d2t"].copy_(TOKENS), "token id 107"),
        "a repeated token": (lambda t: t["d2t"].__setitem__(1, 0), "token id 1 from several rows"),
        "another mask": (lambda t: t["t2d"].logical_not_(), "t2d in"),
        "a mask of another size": (
            lambda t: t.__setitem__("t2d", t["t2d"][:-1].clone()),
            "vocab_size is 100",
        ),
        "offsets of another size": (lambda t: t.__setitem__("d2t", t["d2t"][:-1].clone()), "d2t is"),
    }


@pytest.mark.parametrize("case", broken_maps())
def test_maps_that_are_not_inverse_to_each_other_are_refused(
    case: str, tmp_path: Path, target: Target
) -> None:
    change, expected = broken_maps()[case]
    tensors = public_tensors(target)
    tensors["d2t"] = tensors["d2t"].clone()
    change(tensors)
    assert expected in message(write(tmp_path / "public", tensors), target)


def test_a_head_for_another_target_width_is_refused(tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "public", public_tensors(target), target_hidden_size=48)
    assert "target_hidden_size is 48" in message(path, target)


def test_features_of_layers_that_the_target_does_not_have_are_refused(tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "public", public_tensors(target), eagle_aux_hidden_state_layer_ids=[2, 3, 9])
    assert "layer 9" in message(path, target)


def test_a_swapped_projection_is_refused_by_its_shape(tmp_path: Path, target: Target) -> None:
    tensors = public_tensors(target)
    name = "midlayer.self_attn.q_proj.weight"
    tensors[name] = tensors[name].T.contiguous()
    assert name in message(write(tmp_path / "public", tensors), target)


def test_values_that_are_not_finite_are_refused(tmp_path: Path, target: Target) -> None:
    tensors = public_tensors(target)
    tensors["norm.weight"] = torch.full_like(tensors["norm.weight"], torch.nan)
    assert "norm.weight" in message(write(tmp_path / "public", tensors), target)


def test_a_truncated_file_is_refused(tmp_path: Path, target: Target) -> None:
    path = write(tmp_path / "public", public_tensors(target))
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert "is corrupt" in message(path, target)
