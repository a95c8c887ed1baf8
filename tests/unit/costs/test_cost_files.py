"""Costs in files: what is written is read again, and what is of no use is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from paper_machines import IN_PROPORTION, MACHINE, SETUP, paper_costs

from specframe.costs.file import cached_path, read_cached, read_costs, read_pinned, write_costs
from specframe.errors import SpecframeError, UsageError

COSTS = paper_costs(IN_PROPORTION, head={512: 0.1, 8192: 1.7}, context={1: 0.001, 8: 0.004})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "costs.json"
    write_costs(path, COSTS)
    assert read_costs(path) == COSTS


@pytest.mark.parametrize("name", ["model", "size", "dtype", "drafter", "draft", "gather"])
def test_a_pinned_file_of_something_else_says_what_it_is_of(tmp_path: Path, name: str) -> None:
    write_costs(path := tmp_path / "costs.json", COSTS)
    asked = attrs.evolve(SETUP, **{name: "other"})
    with pytest.raises(UsageError, match=rf"was measured with {name} .*, and this run has other; allowed"):
        read_pinned(path, asked)


def test_a_pinned_file_may_come_from_another_machine(tmp_path: Path) -> None:
    write_costs(path := tmp_path / "costs.json", COSTS)
    assert read_pinned(path, attrs.evolve(SETUP, device="cuda", forward="transformers")) == COSTS


def broken(**changes: Any) -> str:
    return json.dumps({**attrs.asdict(COSTS), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        broken(pass_s=None),
        broken(pass_s={"sizes": [2, 1], "seconds": [1.0, 2.0]}),
        broken(pass_s={"sizes": [1], "seconds": [0.0]}),
        broken(draft_s=-1.0),
        broken(width=0),
        broken(width=10**400),
        broken(draft_s=10**400),
        broken(pass_s={"sizes": [1], "seconds": [5e-324]}),
        "[" * 100_000,
        broken(unheard=1),
    ],
)
def test_a_file_that_holds_something_else_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"costs.json holds no measured costs \(.+\)$"):
        read_costs(path)


def test_a_cached_file_that_is_broken_or_missing_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    assert read_cached(path) is None
    path.write_text(broken(width=0), encoding="utf-8")
    assert read_cached(path) is None


def test_a_folder_is_no_file_of_costs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        read_costs(tmp_path)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SpecframeError, match=r"cannot write .*costs\.json: "):
        write_costs(tmp_path / "file" / "costs.json", COSTS)


def test_each_setup_and_each_machine_has_a_file_of_its_own(tmp_path: Path) -> None:
    other_setup = attrs.evolve(SETUP, dtype="bfloat16")
    other_machine = attrs.evolve(MACHINE, threads=1)
    paths = [cached_path(tmp_path, SETUP, MACHINE), cached_path(tmp_path, SETUP, MACHINE)]
    assert paths[0] == paths[1]
    others = {cached_path(tmp_path, other_setup, MACHINE), cached_path(tmp_path, SETUP, other_machine)}
    assert len({paths[0], *others}) == 3
