"""Rows of a benchmark survive being written and read; what is no row is named by file and line."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from bench_rows import peer_row, row

from specframe.bench.rows import BenchRow, read_interrupted, read_rows, to_line
from specframe.errors import SpecframeError


def test_a_row_in_a_file_has_every_key_of_its_report_and_those_beside_it() -> None:
    one = row()
    beside = {name: value for name, value in attrs.asdict(one).items() if name != "report"}
    assert json.loads(to_line(one)) == {**attrs.asdict(one.report), **beside}


@pytest.mark.parametrize("one", [row(), peer_row()], ids=["our own", "a peer's"])
def test_a_row_is_read_as_it_was_written(one: BenchRow, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(to_line(one) + to_line(one), encoding="utf-8")
    assert read_rows(path) == [one, one]


def test_a_half_written_last_line_of_an_interrupted_run_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(to_line(row()) + to_line(row(text="é ☃"))[:-40], encoding="utf-8")
    assert read_interrupted(path) == [row()]


def test_a_half_written_line_of_a_finished_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(to_line(row()) + to_line(row())[:50], encoding="utf-8")
    with pytest.raises(SpecframeError, match=r"rows\.jsonl, line 2"):
        read_rows(path)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("tau", "fast", "tau cannot be"),
        ("new_tokens", 1.5, "new_tokens cannot be"),
        ("new_tokens", True, "new_tokens cannot be"),
        ("token_ids", [1, "two"], "token_ids cannot be"),
        ("finish_reason", "bored", "finish_reason cannot be"),
        ("steps", {"active_size": [1]}, "key 'accepted' is missing"),
        ("colour", "blue", "key 'colour' is unknown"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: object, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        to_line(row()) + json.dumps({**json.loads(to_line(row())), key: value}) + "\n", encoding="utf-8"
    )
    with pytest.raises(SpecframeError, match=rf"line 2: .*{complaint}"):
        read_interrupted(path)


@pytest.mark.parametrize("line", ["", "[]", "null", "{", '{"id": "one"}'])
def test_what_is_no_row_is_named_by_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n" + to_line(row()), encoding="utf-8")
    with pytest.raises(SpecframeError, match="line 1: not a row"):
        read_rows(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecframeError, match="No such file"):
        read_rows(tmp_path / "nothing.jsonl")
