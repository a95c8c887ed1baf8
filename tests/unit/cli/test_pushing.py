"""A trained checkpoint goes to the hub with its card; what the hub refuses is a line before the training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import attrs
import huggingface_hub
import pytest

import specframe.cli.training
from specframe.cli.app import app
from specframe.cli.pushing import open_repository, push
from specframe.errors import SpecframeError, UsageError
from specframe.registry.components import TrainRequest


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that takes what would go to the hub."""
    folder = tmp_path / "hub"

    def create_repo(self: Any, repo_id: str, *, exist_ok: bool) -> None:
        (folder / repo_id).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self: Any, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        shutil.copytree(folder_path, folder / repo_id, dirs_exist_ok=True)
        return f"hub of {repo_id}"

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    return folder


def test_everything_in_the_folder_arrives(hub: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "head"
    checkpoint.mkdir()
    for name in ("README.md", "config.json", "model.safetensors"):
        (checkpoint / name).write_text(name)
    open_repository("someone/head")
    assert push(checkpoint, "someone/head") == "hub of someone/head"
    arrived = sorted(path.name for path in (hub / "someone" / "head").iterdir())
    assert arrived == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["head", "a/b/c", "", "../head", "/somewhere/head"])
def test_what_is_no_name_of_a_repository_is_refused(name: str, hub: Path) -> None:
    with pytest.raises(UsageError, match="names no repository; allowed: OWNER/NAME"):
        open_repository(name)
    assert not hub.exists()


def test_what_the_hub_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise ValueError("you may not\nwrite here")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", forbidden)
    with pytest.raises(SpecframeError) as caught:
        open_repository("someone/head")
    assert str(caught.value) == (
        "someone/head cannot be written to on the hub: ValueError: you may not write here"
    )


def test_a_training_ends_on_the_hub(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(request: TrainRequest) -> None:
        assert (hub / "someone" / "head").is_dir()
        request.out.mkdir()
        (request.out / "README.md").write_text("card")

    component = attrs.evolve(specframe.cli.training.trainable("eagle"), train=train)
    monkeypatch.setattr(specframe.cli.training, "trainable", lambda drafter: component)
    arguments = ["train", "--model", "none", "--out", str(tmp_path / "out"), "--push", "someone/head"]
    app(arguments, standalone_mode=False)
    assert (hub / "someone" / "head" / "README.md").read_text() == "card"
    assert "pushed: hub of someone/head" in capsys.readouterr().out
