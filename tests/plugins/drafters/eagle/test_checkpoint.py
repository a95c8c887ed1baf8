"""EAGLE heads on disk: both layouts load, and every mismatch is one line that names both sides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_target
from torch import Tensor

from specframe.errors import CheckpointError, PluginError, SpecframeError, UsageError
from specframe.model.target import Target
from specframe.registry.shipped import ShippedData
from specframe_plugins.drafters.eagle.checkpoint import (
    find_head,
    load_chosen,
    load_head,
    save_head,
)
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead, rotary_tables


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


def head_for(target: Target, **options: Any) -> EagleHead:
    torch.manual_seed(0)
    own = {"target_name": target.name, "tokenizer_fingerprint": target.tokenizer_fingerprint}
    return EagleHead(EagleConfig.for_target(target.config, **{**own, **options}))


@pytest.fixture
def own(target: Target, tmp_path: Path) -> Path:
    """A head of this project for the target."""
    save_head(head_for(target), tmp_path / "head")
    return tmp_path / "head"


PUBLIC_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "bias": False,
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "vocab_size": 101,
}


def public_tensors(target: Target, **options: Any) -> dict[str, Tensor]:
    head = head_for(target, input_norms=False, output_norm=False, **options)
    embedding = target.model.get_input_embeddings().weight.detach().clone()
    return {**head.state_dict(), "embed_tokens.weight": embedding}


def write_public(
    path: Path, tensors: dict[str, Tensor], file: str = "pytorch_model.bin", **settings: Any
) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({**PUBLIC_CONFIG, **settings}))
    if file.endswith(".bin"):
        torch.save(tensors, path / file)
    else:
        save_file(tensors, path / file)
    return path


@pytest.fixture
def public(target: Target, tmp_path: Path) -> Path:
    """A checkpoint of the public layout for the target."""
    return write_public(tmp_path / "public", public_tensors(target))


def change_config(path: Path, **settings: Any) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **settings}))


def change_tensors(path: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")


def message(path: Path, target: Target) -> str:
    """Return the error for a checkpoint, which is one line."""
    with pytest.raises(CheckpointError) as caught:
        load_head(path, target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_same_weights(head: EagleHead, expected: dict[str, Tensor]) -> None:
    found = head.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.to(found[name].dtype))


def test_a_saved_head_loads_with_the_same_config_and_weights(own: Path, target: Target) -> None:
    head, saved = load_head(own, target), head_for(target)
    assert head.config == saved.config
    assert_same_weights(head, saved.state_dict())


def test_a_loaded_head_has_the_dtype_of_the_target(own: Path) -> None:
    target = tiny_target()
    target.dtype = torch.bfloat16
    assert {p.dtype for p in load_head(own, target).parameters()} == {torch.bfloat16}


def test_saving_again_replaces_the_head_and_leaves_nothing_else(own: Path, target: Target) -> None:
    save_head(head_for(target, target_name="again"), own)
    assert load_head(own, target).config.target_name == "again"
    assert [path.name for path in own.parent.iterdir()] == ["head"]


def test_saving_never_replaces_a_directory_that_holds_something_else(tmp_path: Path, target: Target) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds no head of this project"):
        save_head(head_for(target), tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_public_checkpoint_loads(tmp_path: Path, target: Target, file: str, bias: bool) -> None:
    tensors = public_tensors(target, fc_bias=bias)
    head = load_head(write_public(tmp_path / "public", tensors, file, bias=bias), target)
    del tensors["embed_tokens.weight"]
    assert_same_weights(head, tensors)
    assert (head.config.rope_theta, head.config.rms_norm_eps) == (500.0, 1e-5)


def test_a_public_checkpoint_may_leave_out_the_embedding_and_the_bias_key(
    tmp_path: Path, target: Target
) -> None:
    tensors = public_tensors(target, fc_bias=True, attention_bias=True)
    del tensors["embed_tokens.weight"]
    path = write_public(tmp_path / "public", tensors)
    change_config(path, bias=True)
    assert_same_weights(load_head(path, target), tensors)


def test_a_missing_directory_is_named(tmp_path: Path, target: Target) -> None:
    assert message(tmp_path / "nowhere", target).endswith("nowhere is not a directory")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(own: Path, target: Target, file: str) -> None:
    (own / file).unlink()
    assert file in message(own, target)


@pytest.mark.parametrize("keep", [0, 4, 100, -8])
def test_a_truncated_safetensors_file_is_named(own: Path, target: Target, keep: int) -> None:
    file = own / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert f"{file} is corrupt" in message(own, target)


@pytest.mark.parametrize("keep", [0, 4, 100, -8])
def test_a_truncated_bin_file_is_named(public: Path, target: Target, keep: int) -> None:
    file = public / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:keep])
    assert f"{file} is corrupt" in message(public, target)


def test_a_bin_file_cannot_run_code(public: Path, target: Target) -> None:
    torch.save({"fc.weight": Path("/")}, public / "pytorch_model.bin")
    assert "pytorch_model.bin is corrupt" in message(public, target)


def test_a_bin_file_of_something_else_is_corrupt(public: Path, target: Target) -> None:
    torch.save([torch.zeros(2)], public / "pytorch_model.bin")
    assert "something else than named tensors" in message(public, target)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]"])
def test_a_config_that_is_no_json_object_is_named(own: Path, target: Target, content: bytes) -> None:
    (own / "config.json").write_bytes(content)
    assert "config.json" in message(own, target)


def test_a_later_format_version_names_both_versions(own: Path, target: Target) -> None:
    change_config(own, format_version=2)
    assert "format_version 2; this version of specframe reads 1" in message(own, target)


def test_an_unknown_field_is_named(own: Path, target: Target) -> None:
    change_config(own, colour="red")
    assert "'colour'" in message(own, target)


def test_a_missing_field_is_named(public: Path, target: Target) -> None:
    config = {key: value for key, value in PUBLIC_CONFIG.items() if key != "vocab_size"}
    (public / "config.json").write_text(json.dumps(config))
    assert message(public, target).endswith("lacks 'vocab_size'")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_key_value_heads", 3),
        ("num_attention_heads", 0),
        ("head_dim", 15),
        ("induction_groups", 3),
        ("induction_groups", -1),
        ("induction_groups", None),
        ("intermediate_size", "many"),
        ("hidden_act", "magic"),
        ("rope_theta", None),
        ("rms_norm_eps", -1.0),
    ],
)
def test_a_size_that_makes_no_head_is_named(own: Path, target: Target, setting: str, value: Any) -> None:
    change_config(own, **{setting: value})
    assert f"{setting} {value!r}" in message(own, target)


def test_a_head_for_another_hidden_size_names_both_shapes(own: Path) -> None:
    error = message(own, tiny_target(hidden_size=32))
    assert error == f"fc.weight is [64, 128] in {own}; target tiny-llama needs [32, 64]"


def test_a_public_head_for_another_vocabulary_names_both_shapes(public: Path) -> None:
    error = message(public, tiny_target(vocab_size=90))
    assert error == f"embed_tokens.weight is [101, 64] in {public}; target tiny-llama needs [90, 64]"


def test_an_own_head_for_another_vocabulary_names_both_sizes(own: Path) -> None:
    error = message(own, tiny_target(vocab_size=90))
    assert error == f"vocab_size is 101 in {own}; target tiny-llama has 90"


def test_a_head_for_another_tokenizer_names_both(tmp_path: Path, target: Target) -> None:
    path = tmp_path / "head"
    save_head(head_for(target, target_name="elsewhere", tokenizer_fingerprint="0123"), path)
    error = message(path, target)
    assert "the tokenizer of elsewhere (fingerprint 0123)" in error
    assert f"target tiny-llama has another (fingerprint {target.tokenizer_fingerprint})" in error


def test_an_eagle_3_head_is_refused(tmp_path: Path, target: Target) -> None:
    path = write_public(tmp_path / "public", public_tensors(target), draft_vocab_size=32000)
    assert "holds an EAGLE-3 head; allowed: EAGLE-2 heads" in message(path, target)


def test_a_whole_model_is_refused(tmp_path: Path, target: Target) -> None:
    path = write_public(tmp_path / "public", public_tensors(target), num_hidden_layers=30)
    assert "holds a model of 30 layers; allowed: EAGLE-2 heads" in message(path, target)


def test_rotations_that_depend_on_the_length_are_refused(tmp_path: Path, target: Target) -> None:
    scaling = {"type": "dynamic", "factor": 2.0}
    path = write_public(tmp_path / "public", public_tensors(target), rope_scaling=scaling)
    assert "asks for rotary embeddings 'dynamic'; allowed: default, linear" in message(path, target)


def test_linear_rotations_divide_the_positions(tmp_path: Path, target: Target) -> None:
    scaling = {"type": "linear", "factor": 2.0}
    path = write_public(tmp_path / "public", public_tensors(target), rope_scaling=scaling)
    scaled, plain = load_head(path, target).config, head_for(target, rope_theta=500.0).config
    positions = torch.arange(8)
    for found, expected in zip(
        rotary_tables(scaled, 2 * positions), rotary_tables(plain, positions), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_a_key_that_is_not_known_is_refused_by_name(tmp_path: Path, target: Target) -> None:
    path = write_public(tmp_path / "public", public_tensors(target), frobnicate=3)
    assert "has 'frobnicate', which is not known here" in message(path, target)


def test_a_bias_that_the_config_denies_is_refused(tmp_path: Path, target: Target) -> None:
    path = write_public(tmp_path / "public", public_tensors(target, fc_bias=True), bias=False)
    assert "bias false, and the checkpoint has fc.bias" in message(path, target)


def test_an_embedding_that_is_not_the_targets_is_used(tmp_path: Path, target: Target) -> None:
    own = torch.randn(target.vocab_size, target.hidden_size)
    path = write_public(tmp_path / "public", {**public_tensors(target), "embed_tokens.weight": own})
    torch.testing.assert_close(load_head(path, target).embed_tokens.weight, own)


def test_a_missing_tensor_is_named(own: Path, target: Target) -> None:
    change_tensors(own, lambda tensors: tensors.pop("layers.0.mlp.up_proj.weight"))
    assert "has no tensor layers.0.mlp.up_proj.weight" in message(own, target)


def test_an_unexpected_tensor_is_named(own: Path, target: Target) -> None:
    change_tensors(own, lambda tensors: tensors.update(midlayer=torch.zeros(2)))
    assert "unexpected tensor midlayer" in message(own, target)


def test_a_tensor_of_another_shape_than_the_config_says_is_named(own: Path, target: Target) -> None:
    change_config(own, intermediate_size=80)
    assert message(own, target).endswith("its config.json says [80, 64]")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(own: Path, target: Target, value: float) -> None:
    change_tensors(own, lambda tensors: tensors["fc.weight"].view(-1)[3].fill_(value))
    assert message(own, target).startswith("fc.weight in")


def shipped(folder: Path) -> ShippedData:
    """Return what a plugin ships that has these heads."""
    return ShippedData(tuple((head, "theirs 1.0") for head in sorted(folder.iterdir())))


def test_the_shipped_head_of_a_tokenizer_and_size_is_found(tmp_path: Path, target: Target) -> None:
    save_head(head_for(target, tokenizer_fingerprint="0123"), tmp_path / "another tokenizer")
    save_head(head_for(target, hidden_size=128), tmp_path / "another size")
    write_public(tmp_path / "another kind", public_tensors(target))
    save_head(head_for(target), tmp_path / "right")
    assert find_head(target, shipped(tmp_path)).path.parent == tmp_path / "right"


def test_without_a_shipped_head_the_error_says_which_ones_exist(tmp_path: Path, target: Target) -> None:
    save_head(head_for(target, tokenizer_fingerprint="0123", target_name="elsewhere"), tmp_path / "other")
    with pytest.raises(SpecframeError, match="heads ship for: elsewhere; `specframe train` makes one"):
        find_head(target, shipped(tmp_path))


def test_without_a_shipped_head_the_error_names_a_drafter_that_needs_none(target: Target) -> None:
    with pytest.raises(SpecframeError, match="; --drafter lookup needs no head"):
        find_head(target, ShippedData())


def test_two_shipped_heads_for_one_target_are_named(tmp_path: Path, target: Target) -> None:
    for name in ("one", "two"):
        save_head(head_for(target), tmp_path / name)
    with pytest.raises(PluginError, match=r"one/config.json of plugin theirs 1.0 and .*two/config.json of"):
        find_head(target, shipped(tmp_path))


def test_a_shipped_head_whose_weights_are_broken_names_its_plugin(tmp_path: Path, target: Target) -> None:
    save_head(head_for(target), tmp_path / "head")
    (tmp_path / "head" / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(PluginError, match=r"plugin theirs 1.0 ships a broken .*model.safetensors is corrupt"):
        load_chosen(None, target, shipped(tmp_path))
