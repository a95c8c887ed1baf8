from __future__ import annotations

from pathlib import Path

import pytest

from specframe.ops import free_memory
from specframe.ops.free_memory import free_bytes


@pytest.fixture(autouse=True)
def _nothing_says_how_much(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(free_memory, "_SYSTEM", tmp_path / "meminfo")
    monkeypatch.setattr(free_memory, "_CONTAINER", tmp_path)


def test_where_nothing_says_how_much_is_free_there_is_no_answer() -> None:
    assert free_bytes() is None


def test_the_system_says_it_in_kibibytes(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:   50 kB\n")
    assert free_bytes() == 50 * 1024


def test_a_container_leaves_what_it_has_not_taken(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable:   50 kB\n")
    (tmp_path / "memory.max").write_text("30000\n")
    (tmp_path / "memory.current").write_text("29000\n")
    assert free_bytes() == 1000


def test_a_container_without_a_limit_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable:   50 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("29000\n")
    assert free_bytes() == 50 * 1024
