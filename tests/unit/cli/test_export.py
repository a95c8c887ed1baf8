"""`specframe export`: what other engines load is complete, fits its target, and reads back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from safetensors.torch import load_file
from tiny_models import tiny_target

from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.induction import with_induction
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.drafters.eagle3 import checkpoint as eagle3
from specframe_plugins.drafters.eagle3 import model as eagle3_model

SHIPPED = Path(__file__).parents[3] / "heads" / "specframe_heads" / "data" / "smollm2-135m"


def exported(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    return json.loads((path / "config.json").read_text()), load_file(path / "model.safetensors")


@pytest.fixture
def tiny_eagle3(tmp_path: Path) -> Path:
    """A random EAGLE-3 head for the tiny model, over every third token."""
    target, rows = tiny_target(), torch.arange(0, 101, 3)
    config = eagle3_model.for_target(
        target.config,
        target_name=target.name,
        tokenizer_fingerprint=target.tokenizer_fingerprint,
        draft_vocab_size=len(rows),
    )
    eagle3.save_head(eagle3_model.Eagle3Head(config), rows, tmp_path / "eagle3")
    return tmp_path / "eagle3"


def test_a_head_that_ships_is_exported_by_its_name(cli: CommandLine, tmp_path: Path) -> None:
    outcome = cli("export", "vllm", "smollm2-135m", tmp_path / "out")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert exported(tmp_path / "out")[0]["architectures"] == ["EagleSpecframeForCausalLM"]


def test_the_tensors_of_a_head_are_exported_as_they_are(
    cli: CommandLine, tiny_head: Path, tiny_directory: Path, tmp_path: Path
) -> None:
    cli("export", "vllm", tiny_head, tmp_path / "out", "--model", tiny_directory)
    found, kept = exported(tmp_path / "out")[1], load_file(tiny_head / "model.safetensors")
    assert found.keys() == kept.keys()
    assert all(torch.equal(found[name], kept[name]) for name in kept)


def test_the_config_says_what_vllm_asks_of_a_model(
    cli: CommandLine, tiny_head: Path, tiny_directory: Path, tmp_path: Path
) -> None:
    cli("export", "vllm", tiny_head, tmp_path / "out", "--model", tiny_directory)
    config, _ = exported(tmp_path / "out")
    asked = {
        "model_type": "specframe_eagle",
        "num_hidden_layers": 1,
        "hidden_size": 64,
        "vocab_size": 101,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "embedding_scale": 1.0,
        "eos_token_id": 1,
    }
    assert config | asked == config


def test_induction_heads_are_exported_with_their_number(
    cli: CommandLine, tiny_directory: Path, tmp_path: Path
) -> None:
    target = tiny_target()
    head = with_induction(EagleHead(EagleConfig.for_target(target.config)), 2)
    save_head(head, tmp_path / "head")
    cli("export", "vllm", tmp_path / "head", tmp_path / "out", "--model", tiny_directory)
    assert exported(tmp_path / "out")[0]["induction_groups"] == 2


def test_an_eagle3_head_is_exported_with_its_draft_vocabulary(
    cli: CommandLine, tiny_eagle3: Path, tiny_directory: Path, tmp_path: Path
) -> None:
    cli("export", "vllm", tiny_eagle3, tmp_path / "out", "--model", tiny_directory)
    config, tensors = exported(tmp_path / "out")
    assert config["architectures"] == ["Eagle3SpecframeForCausalLM"]
    assert config["eagle_aux_hidden_state_layer_ids"] == [1, 2, 3]
    assert config["draft_vocab_size"] == len(tensors["d2t"]) == 34


def test_an_export_is_replaced_by_the_next_one(
    cli: CommandLine, tiny_head: Path, tiny_directory: Path, tmp_path: Path
) -> None:
    arguments = ("export", "vllm", tiny_head, tmp_path / "out", "--model", tiny_directory)
    assert cli(*arguments).exit_code == cli(*arguments).exit_code == 0


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        ("smollm2-135", "unknown head 'smollm2-135'; did you mean 'smollm2-135m'"),
        ("./absent", "no such head: ./absent; allowed: a directory, or gemma3-270m, smollm2-135m"),
    ],
)
def test_a_head_that_is_not_there_is_one_line(
    cli: CommandLine, tmp_path: Path, head: str, complaint: str
) -> None:
    outcome = cli("export", "vllm", head, tmp_path / "out")
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint


def test_a_directory_without_a_head_is_one_line(
    cli: CommandLine, tiny_directory: Path, tmp_path: Path
) -> None:
    outcome = cli("export", "vllm", tiny_directory, tmp_path / "out")
    assert "holds no head that can be exported; allowed: heads of the drafters eagle, eagle3" in (
        outcome.complaint
    )


def test_a_head_of_another_target_leaves_nothing_behind(
    cli: CommandLine, tiny_directory: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    outcome = cli("export", "vllm", SHIPPED, folder / "out", "--model", tiny_directory)
    assert outcome.exit_code == 2
    assert "fc.weight is [576, 1152]" in outcome.complaint
    assert not folder.exists()


def test_an_export_replaces_nothing_else(
    cli: CommandLine, tiny_head: Path, tiny_directory: Path, tmp_path: Path
) -> None:
    outcome = cli("export", "vllm", tiny_head, tiny_directory, "--model", tiny_directory)
    assert "exists and holds no exported head; allowed: a new directory" in outcome.complaint


def test_a_head_that_names_no_target_asks_for_one(cli: CommandLine, tmp_path: Path) -> None:
    save_head(EagleHead(EagleConfig.for_target(tiny_target().config)), tmp_path / "head")
    outcome = cli("export", "vllm", tmp_path / "head", tmp_path / "out")
    assert "does not say which target it was made for; allowed: --model MODEL" in outcome.complaint


def test_a_token_map_holds_the_ids_of_a_static_strategy(cli: CommandLine, tmp_path: Path) -> None:
    outcome = cli("export", "sglang", "static", tmp_path / "map.pt", "-o", "size=512")
    ids = torch.tensor(torch.load(tmp_path / "map.pt", weights_only=True), dtype=torch.int64)
    assert (outcome.exit_code, outcome.err, len(ids.unique())) == (0, "", 512)


def test_a_token_map_holds_the_ids_that_end_a_text(cli: CommandLine, tmp_path: Path) -> None:
    cli("export", "sglang", "static", tmp_path / "map.pt", "-o", "size=512", "--model", "smollm2-135m")
    assert 2 in torch.load(tmp_path / "map.pt", weights_only=True)


@pytest.mark.parametrize("strategy", ["nanospec", "full"])
def test_a_strategy_without_a_fixed_set_has_no_token_map(
    cli: CommandLine, tmp_path: Path, strategy: str
) -> None:
    outcome = cli("export", "sglang", strategy, tmp_path / "map.pt")
    assert f"strategy {strategy!r} has no fixed active set" in outcome.complaint


def test_a_token_map_replaces_no_file(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "map.pt").touch()
    outcome = cli("export", "sglang", "static", tmp_path / "map.pt")
    assert "map.pt exists; allowed: a new file" in outcome.complaint
