from __future__ import annotations

import errno
import importlib.util
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench_rows import changed
from command_line import CommandLine
from report_rows import PROFILES, bench_rows, manifest

from specframe.bench.manifest import manifest_path, write_manifest
from specframe.bench.report.directory import check_report_directory
from specframe.bench.report.writing import write_report
from specframe.bench.rows import to_line
from specframe.errors import SpecframeError, UsageError

# Two configurations of one task draw in a moment.
ROWS = bench_rows(1, profiles=PROFILES[:2], tasks=("code",))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Rows and manifest of a run, as ``specframe bench`` leaves them."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(map(to_line, ROWS)), encoding="utf-8")
    write_manifest(manifest(), manifest_path(rows))
    return rows


def test_a_report_is_a_page_and_its_charts(tmp_path: Path) -> None:
    page = write_report(ROWS, manifest(), tmp_path / "deep" / "report")
    assert page == tmp_path / "deep" / "report" / "index.html"
    charts = sorted(path.name for path in page.parent.glob("*.png"))
    assert "speed-against-autoregressive.png" in charts
    assert "time-split.png" in charts
    assert os.listdir(tmp_path / "deep") == ["report"]


def test_a_lossy_verifier_is_named_on_the_page(tmp_path: Path) -> None:
    lossy = [changed(row, lossy=True) for row in ROWS]
    text = write_report(lossy, manifest(), tmp_path / "report").read_text(encoding="utf-8")
    assert "Lossy verifier:</strong> the texts of" in text
    assert "Lossy verifier" not in write_report(ROWS, manifest(), tmp_path / "report").read_text(
        encoding="utf-8"
    )


def test_an_earlier_report_is_replaced_with_all_its_files(tmp_path: Path) -> None:
    page = write_report(ROWS, manifest(), tmp_path / "report")
    (page.parent / "a-chart-of-last-time.png").write_bytes(b"")
    write_report(ROWS, manifest(command="specframe bench --again"), page.parent)
    assert "specframe bench --again" in page.read_text(encoding="utf-8")
    assert not (page.parent / "a-chart-of-last-time.png").exists()
    assert os.listdir(tmp_path) == ["report"]


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(UsageError, match=r"holds something that is no report; allowed: a new or empty"):
        write_report(ROWS, manifest(), tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_pictures_that_are_no_report_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(b"")
    with pytest.raises(UsageError, match="holds something that is no report"):
        check_report_directory(tmp_path)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file; allowed: a directory"):
        check_report_directory(tmp_path / "report")


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "index.html":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SpecframeError, match=r"cannot write the report to .*: No space left on device"):
        write_report(ROWS, manifest(), tmp_path / "report")
    assert os.listdir(tmp_path) == []


def test_an_earlier_report_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = write_report(ROWS, manifest(), tmp_path / "report")
    before = page.read_bytes()
    rename = Path.rename

    def fail_once(path: Path, to: Path) -> Path:
        if path.name == "new":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(SpecframeError, match="No space left on device"):
        write_report(ROWS, manifest(), page.parent)
    assert page.read_bytes() == before
    assert os.listdir(tmp_path) == ["report"]


def test_an_unwritable_directory_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root every directory is writable, so the answer of the system is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(UsageError, match=r"cannot be written: .* is not writable"):
        check_report_directory(tmp_path / "deep" / "report")


def test_a_missing_library_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else SimpleNamespace()
    )
    with pytest.raises(UsageError, match=r"needs matplotlib; install with: pip install .specframe\[report\]"):
        check_report_directory(tmp_path / "report")


def test_the_table_needs_no_drawing_library(
    kept: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = cli("report", str(kept))
    assert result.exit_code == 0
    assert "tokens/s against autoregressive" in result.out


def test_kept_rows_are_reported_again(kept: Path, cli: CommandLine) -> None:
    result = cli("report", str(kept), "--report", str(kept.parent / "report"))
    assert result.exit_code == 0
    assert "full against autoregressive: too few prompts to say" in result.out
    assert (kept.parent / "report" / "index.html").exists()


def test_an_interrupted_run_is_reported_as_such(kept: Path, cli: CommandLine) -> None:
    write_manifest(manifest(finished=False), manifest_path(kept))
    kept.write_text(kept.read_text(encoding="utf-8")[:-40], encoding="utf-8")  # half a last line
    page = kept.parent / "report" / "index.html"
    assert cli("report", str(kept), "--report", str(page.parent)).exit_code == 0
    assert "Unfinished:" in page.read_text(encoding="utf-8")


def test_rows_without_a_manifest_are_one_line(kept: Path, cli: CommandLine) -> None:
    manifest_path(kept).unlink()
    result = cli("report", str(kept))
    assert result.exit_code == 1
    assert "rows.meta.json: No such file or directory" in result.err


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"colour": "blue"}, "is not a manifest of specframe bench: key 'colour' is unknown"),
        (
            {"findings": [{"check": "isolation"}]},
            "is not a manifest of specframe bench: key 'configuration' is",
        ),
        ({"schema_version": 2}, "has schema version 2; this version reads 1"),
    ],
)
def test_a_damaged_manifest_is_one_line(
    change: dict[str, object], complaint: str, kept: Path, cli: CommandLine
) -> None:
    path = manifest_path(kept)
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    result = cli("report", str(kept))
    assert result.exit_code == 1
    assert complaint in result.complaint
