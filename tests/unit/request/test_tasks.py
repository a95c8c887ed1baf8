"""Task files in three formats; a malformed line is named, and left out only on request."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from specframe.errors import UsageError
from specframe.request.tasks import Task, built_in_tasks, choose, read_tasks

OWN = {"id": "one", "task": "qa", "category": "history", "turns": ["Who built it?", "When?"]}
SPEC_BENCH = {"question_id": 81, "category": "writing", "turns": ["Write a letter."], "reference": []}
HUMAN_EVAL = {"task_id": "HumanEval/0", "prompt": "def f():\n", "test": "", "entry_point": "f"}


def write(path: Path, *lines: object) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def test_all_three_formats_are_read(tmp_path: Path) -> None:
    found = read_tasks(write(tmp_path / "tasks.jsonl", OWN, "", SPEC_BENCH, HUMAN_EVAL))
    assert found.tasks == [
        Task(id="one", task="qa", category="history", turns=("Who built it?", "When?")),
        Task(id="81", task="conversation", category="writing", turns=("Write a letter.",)),
        Task(id="HumanEval/0", task="code", category="human_eval", turns=("def f():\n",)),
    ]


def test_a_spec_bench_category_that_is_no_conversation_is_its_own_task(tmp_path: Path) -> None:
    line = {**SPEC_BENCH, "category": "translation"}
    assert read_tasks(write(tmp_path / "tasks.jsonl", line)).tasks[0].task == "translation"


def test_a_separator_of_unicode_does_not_end_a_line(tmp_path: Path) -> None:
    line = json.dumps({**OWN, "turns": ["one\u2028two\x85three"]}, ensure_ascii=False)
    assert read_tasks(write(tmp_path / "tasks.jsonl", line)).tasks[0].prompt == "one\u2028two\x85three"


MALFORMED = {
    "not JSON": '{"id": "two"',
    "not a JSON object": "[1, 2]",
    "no known format: its keys are id, turns": {"id": "two", "turns": ["x"]},
    "turns must be a list": {**OWN, "id": "two", "turns": "Who?"},
    "every turn must be a text": {**OWN, "id": "two", "turns": [" "]},
    "task must be a text": {**OWN, "id": "two", "task": 3},
    "id 'one' appears a second time": OWN,
}


@pytest.mark.parametrize(("complaint", "line"), MALFORMED.items(), ids=list(MALFORMED))
def test_a_malformed_line_is_named_by_file_and_number(complaint: str, line: object, tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.jsonl", OWN, line)
    with pytest.raises(UsageError, match=rf"tasks\.jsonl, line 2: {complaint}"):
        read_tasks(path)
    found = read_tasks(path, skip_bad=True)
    assert [task.id for task in found.tasks] == ["one"]
    assert len(found.complaints) == 1


def test_bytes_that_are_not_text_are_a_malformed_line(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(json.dumps(OWN).encode() + b'\n{"id": "\xff"}\n')
    with pytest.raises(UsageError, match="line 2: not UTF-8 text"):
        read_tasks(path)


def test_how_many_lines_are_malformed_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.jsonl", OWN, "x", "y", "z")
    with pytest.raises(UsageError, match=r"line 2: .*\(2 more malformed lines\).*--skip-bad"):
        read_tasks(path)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_tasks_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="has no tasks"):
        read_tasks(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the task file .*nothing\.jsonl: No such file"):
        read_tasks(tmp_path / "nothing.jsonl")


def task(kind: str, number: int) -> Task:
    return Task(id=f"{kind}{number}", task=kind, category=kind, turns=("x",))


def test_kinds_of_tasks_take_turns_within_the_limit() -> None:
    tasks = [task("a", 0), task("a", 1), task("a", 2), task("b", 0), task("b", 1), task("c", 0)]
    assert [one.id for one in choose(tasks, limit=2)] == ["a0", "b0", "c0", "a1", "b1"]
    assert [one.id for one in choose(tasks, skip=1, limit=1)] == ["a1", "b1"]
    assert len(choose(tasks)) == len(tasks)


def test_the_built_in_prompts_are_seven_tasks_of_five_or_more() -> None:
    tasks = built_in_tasks()
    per_task = Counter(task.task for task in tasks)
    assert set(per_task) == {
        "conversation",
        "translation",
        "summarization",
        "qa",
        "math_reasoning",
        "rag",
        "code",
    }
    assert min(per_task.values()) >= 5
    assert len({task.prompt for task in tasks}) == len(tasks)


@pytest.mark.parametrize("kind", ["summarization", "rag"])
def test_most_built_in_passages_are_as_long_as_real_ones(kind: str) -> None:
    words = sorted(len(task.prompt.split()) for task in built_in_tasks() if task.task == kind)
    assert words[1] >= 150
