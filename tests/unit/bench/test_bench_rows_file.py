"""A file of rows grows prompt by prompt; whatever interrupts it, no row is lost, doubled or cut in half."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_rows import row

from specframe.bench.rows import BenchRow, read_rows, to_line
from specframe.bench.rows_file import RowsFile
from specframe.errors import SpecframeError, UsageError

PROMPTS = ["p0", "p1", "p2"]
LABELS = ["full", "nanospec"]


def group(prompt: str) -> list[BenchRow]:
    return [row(id=prompt, configuration=label, order=order) for order, label in enumerate(LABELS)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def test_what_is_appended_is_there(path: Path) -> None:
    with RowsFile(path, PROMPTS, LABELS) as file:
        file.append(group("p0"))
        file.append(group("p1"))
    assert read_rows(path) == [*group("p0"), *group("p1")]


@pytest.mark.parametrize("cut", range(0, 3000, 371))
def test_an_interrupted_file_goes_on_after_its_last_complete_prompt(cut: int, path: Path) -> None:
    whole = "".join(to_line(one) for prompt in PROMPTS[:2] for one in group(prompt))
    path.write_text(whole[: max(len(whole) - cut, 0)], encoding="utf-8")
    with RowsFile(path, PROMPTS, LABELS) as file:
        done = len(file.rows) // len(LABELS)
        assert done == (2 if cut == 0 else 1 if cut < len(whole) // 2 else 0)
        for prompt in PROMPTS[done:]:
            file.append(group(prompt))
    assert read_rows(path) == [one for prompt in PROMPTS for one in group(prompt)]


def test_configurations_of_a_prompt_may_be_in_any_order(path: Path) -> None:
    path.write_text("".join(map(to_line, reversed(group("p0")))), encoding="utf-8")
    with RowsFile(path, PROMPTS, LABELS) as file:
        assert len(file.rows) == 2


@pytest.mark.parametrize(
    "strange",
    [
        [row(id="elsewhere", configuration="full")],
        [*group("p0"), row(id="p2", configuration="full")],
        [*group("p0"), row(id="p1", configuration="full"), row(id="p2", configuration="full")],
        [*group("p0"), *group("p1"), *group("p2"), row(id="p3", configuration="full")],
    ],
)
def test_rows_of_another_run_are_refused_and_kept(strange: list[BenchRow], path: Path) -> None:
    content = "".join(map(to_line, strange))
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="a row that this run would not have written there"):
        RowsFile(path, PROMPTS, LABELS)
    assert path.read_text(encoding="utf-8") == content


def test_two_runs_cannot_write_one_file(path: Path) -> None:
    with (
        RowsFile(path, PROMPTS, LABELS),
        pytest.raises(SpecframeError, match="is being written by another run"),
    ):
        RowsFile(path, PROMPTS, LABELS)


def test_a_full_disk_is_one_line(path: Path) -> None:
    path.symlink_to("/dev/full")
    with (
        RowsFile(path, PROMPTS, LABELS) as file,
        pytest.raises(SpecframeError, match=r"cannot write .*rows\.jsonl: No space left on device"),
    ):
        file.append(group("p0"))


def test_rows_that_only_partly_fit_are_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NearlyFull:
        """Takes 100 bytes of every write, and after 500 no more."""

        def __init__(self, file: object) -> None:
            self._file, self._left = file, 500

        def write(self, content: memoryview) -> int:
            if self._left <= 0:
                raise OSError(28, "No space left on device")
            self._left -= 100
            return self._file.write(content[:100])  # type: ignore[attr-defined,no-any-return]

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

    with RowsFile(path, PROMPTS, LABELS) as file:
        file.append(group("p0"))
        monkeypatch.setattr(file, "_file", NearlyFull(file._file))
        with pytest.raises(SpecframeError, match="No space left on device"):
            file.append(group("p1"))
    assert read_rows(path) == group("p0")


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecframeError, match=r"cannot write .*: No such file or directory"):
        RowsFile(tmp_path / "nowhere" / "rows.jsonl", PROMPTS, LABELS)
