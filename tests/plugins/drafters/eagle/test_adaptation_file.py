"""What a head learnt in use is read back as it was written, by that head alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import tiny_target

from specframe.errors import CheckpointError, SpecframeError
from specframe_plugins.drafters.eagle.adaptation_file import AdaptationFile
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

SIZE = 64
KEYS = torch.arange(3.0 * SIZE).view(3, SIZE).to(torch.bfloat16)


def head(seed: int = 0) -> EagleHead:
    config = EagleConfig.for_target(tiny_target().config)
    torch.manual_seed(seed)
    return EagleHead(config)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = AdaptationFile(tmp_path / "learnt", head(), SIZE)
    assert file.read() is None
    file.write(KEYS, -KEYS)
    read = AdaptationFile(tmp_path / "learnt", head(), SIZE).read()
    assert read is not None
    assert torch.equal(read[0], KEYS)
    assert torch.equal(read[1], -KEYS)
    assert [path.name for path in tmp_path.iterdir()] == ["learnt"]


def test_a_file_of_another_head_is_refused_by_name(tmp_path: Path) -> None:
    AdaptationFile(tmp_path / "learnt", head(), SIZE).write(KEYS, -KEYS)
    with pytest.raises(CheckpointError, match=r"learnt was learnt by another head; allowed: a new file, or"):
        AdaptationFile(tmp_path / "learnt", head(seed=1), SIZE).read()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    save_file({"keys": KEYS}, tmp_path / "learnt")
    with pytest.raises(CheckpointError, match=r"learnt holds nothing that a head learnt"):
        AdaptationFile(tmp_path / "learnt", head(), SIZE).read()


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 40])
def test_a_corrupt_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "learnt").write_bytes(content)
    with pytest.raises(CheckpointError, match="learnt is corrupt"):
        AdaptationFile(tmp_path / "learnt", head(), SIZE).read()


def test_a_file_of_other_shapes_is_refused(tmp_path: Path) -> None:
    AdaptationFile(tmp_path / "learnt", head(), SIZE).write(KEYS, -KEYS[:2])
    with pytest.raises(CheckpointError, match=r"values is \[2, 64\]"):
        AdaptationFile(tmp_path / "learnt", head(), SIZE).read()


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_learnt(tmp_path: Path) -> None:
    with pytest.raises(SpecframeError, match="cannot write"):
        AdaptationFile(tmp_path / "none" / "learnt", head(), SIZE)


def test_a_write_that_fails_is_a_warning_and_keeps_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AdaptationFile(tmp_path / "learnt", head(), SIZE)
    file.write(KEYS, -KEYS)

    def fail(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with caplog.at_level(logging.WARNING):
        file.write(KEYS[:1], -KEYS[:1])
    assert "cannot write" in caplog.text
    read = file.read()
    assert read is not None
    assert len(read[0]) == 3
