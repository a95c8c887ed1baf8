"""A head is found by its hub id, in the cache where no hub can be reached; only safetensors count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError
from safetensors.torch import save_file
from tiny_models import tiny_target

from specframe.errors import CheckpointError
from specframe_plugins.drafters.eagle.checkpoint import load_head, save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.drafters.hub import local_folder

NAME = "someone/head"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the one head in a cache of the hub, which cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OfflineModeIsEnabled("no network in a test")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    repository = tmp_path / "cache" / "models--someone--head"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return repository / "snapshots" / commit


def test_a_head_in_the_cache_of_the_hub_loads_by_its_id(cache: Path) -> None:
    target = tiny_target()
    head = EagleHead(EagleConfig.for_target(target.config))
    save_head(head, cache)
    loaded = load_head(Path(NAME), target)
    torch.testing.assert_close(loaded.fc.weight, head.fc.weight.detach())


def test_a_directory_of_that_name_goes_first(cache: Path) -> None:
    Path(NAME).mkdir(parents=True)
    assert local_folder(Path(NAME)) == Path(NAME)


def test_pickled_weights_of_a_hub_are_not_read(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "config.json").write_text("{}")
    torch.save({}, cache / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds no safetensors; allowed: heads as safetensors"):
        local_folder(Path(NAME))


def test_pickled_weights_beside_safetensors_are_not_read(cache: Path) -> None:
    target = tiny_target()
    head = EagleHead(EagleConfig.for_target(target.config))
    save_head(head, cache)
    weights = dict(head.state_dict())
    (cache / "model.safetensors").rename(cache / "model-1.safetensors")
    index = {"weight_map": dict.fromkeys(weights, "model-1.safetensors")}
    (cache / "model.safetensors.index.json").write_text(json.dumps(index))
    torch.save({}, cache / "pytorch_model.bin")
    save_file(weights, cache / "model-1.safetensors")
    assert load_head(Path(NAME), target).config == head.config


def test_what_is_neither_here_nor_in_the_cache_is_one_line(cache: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        local_folder(Path("someone/else"))
    assert str(caught.value) == (
        "someone/else is no directory, the hub cannot be reached, and its cache has no such head; allowed: a "
        "directory, or a hub id"
    )


def test_what_the_hub_does_not_know_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **kwargs: Any) -> None:
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unknown)
    with pytest.raises(CheckpointError, match="someone/head is neither a directory nor a model of the hub"):
        local_folder(Path(NAME))
