"""JSON becomes attrs objects only with right keys and types; a file is written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from specframe.contracts.records import check_file_place, check_folder_place, structure, write_whole
from specframe.errors import SpecframeError, UsageError


@attrs.frozen(kw_only=True)
class Inner:
    sizes: tuple[int, ...]


@attrs.frozen(kw_only=True)
class Outer:
    name: str
    seconds: float
    why: Literal["oov", "miss"] | None
    inner: Inner | None
    versions: Mapping[str, str | None]
    anything: Any
    parts: list[Inner]
    later: int | None = None


VALUES: dict[str, Any] = {
    "name": "one",
    "seconds": 2,
    "why": "oov",
    "inner": {"sizes": [1, 2]},
    "versions": {"torch": "2", "triton": None},
    "anything": [{"a": 1}],
    "parts": [{"sizes": []}],
    "later": 3,
}


def test_an_object_is_what_its_json_says() -> None:
    found = structure(Outer, VALUES)
    assert found.inner == Inner(sizes=(1, 2))
    assert found.parts == [Inner(sizes=())]
    assert type(found.seconds) is float
    assert json.loads(json.dumps(attrs.asdict(found))) == VALUES


def test_a_key_with_a_default_may_be_missing_for_older_files_have_not_got_it() -> None:
    assert structure(Outer, {name: value for name, value in VALUES.items() if name != "later"}).later is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": None}, "name cannot be null"),
        ({"seconds": True}, "seconds cannot be true"),
        ({"why": "bored"}, 'why cannot be "bored"'),
        ({"inner": {"sizes": [1.5]}}, "sizes cannot be 1.5"),
        ({"inner": {}}, "key 'sizes' is missing"),
        ({"inner": 3}, "not a JSON object"),
        ({"versions": {"torch": 2}}, "versions cannot be 2"),
        ({"versions": []}, "versions cannot be"),
        ({"parts": {}}, "parts cannot be"),
        ({"later": 1.5}, "later cannot be 1.5"),
        ({"colour": "blue"}, "key 'colour' is unknown"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        structure(Outer, {**VALUES, **change})


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    write_whole(path, b"after")
    assert path.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def full(path: Path, to: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SpecframeError, match=r"cannot write .*file: No space left on device"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_no_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpecframeError, match="Not a directory"):
        write_whole(tmp_path / "file" / "deeper", b"")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("folder", "^cannot write .*folder: Is a directory$"),
        ("nowhere/rows", "^cannot write .*nowhere/rows: No such file or directory$"),
        ("file/rows", "^cannot write .*file/rows: Not a directory$"),
    ],
)
def test_a_file_that_could_not_be_written_is_refused_early(path: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SpecframeError, match=complaint):
        check_file_place(tmp_path / path)
    check_file_place(tmp_path / "folder" / "new")
    check_file_place(tmp_path / "file")


def test_a_folder_that_takes_no_files_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(SpecframeError, match=r"cannot write .*rows: Read-only file system"):
        check_file_place(tmp_path / "rows")
    with pytest.raises(UsageError, match=r"cannot write .*head: Read-only file system; allowed: a place"):
        check_folder_place(tmp_path / "far" / "head")


def test_a_folder_that_could_not_be_made_is_refused_early(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in ("file", "file/below", "file/far/below"):
        with pytest.raises(UsageError, match="file is a file; allowed: a new directory in a folder"):
            check_folder_place(tmp_path / path)
    check_folder_place(tmp_path / "new" / "below")


def test_a_pipe_stays_a_pipe_and_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"new")
    assert pipe.is_fifo()
    assert os.read(reader, 9) == b"new"
    os.close(reader)


def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"old")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
