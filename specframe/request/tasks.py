"""Task prompts: the built-in ones, and files in our own format, in Spec-Bench's and in HumanEval's."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import attrs

from specframe.errors import UsageError

BUILT_IN = "built-in"

# Spec-Bench files its multi-turn conversations under the categories of MT-Bench.
_CONVERSATIONS = (
    "writing",
    "roleplay",
    "reasoning",
    "math",
    "coding",
    "extraction",
    "stem",
    "humanities",
)


@attrs.frozen(slots=True, kw_only=True)
class Task:
    """One request of a benchmark.

    Attributes:
        id: unique within its file.
        task: what results are grouped by.
        category: finer than ``task``, where the file has that.
        turns: what the user says, turn by turn; the first is what a benchmark asks.
    """

    id: str
    task: str
    category: str
    turns: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """The first turn."""
        return self.turns[0]


@attrs.frozen(slots=True)
class TaskFile:
    """The tasks of a file, and one line for every line of it that was left out."""

    tasks: list[Task]
    complaints: list[str]


def read_tasks(path: Path, *, skip_bad: bool = False) -> TaskFile:
    """Return the tasks of a file; blank lines do not count.

    Args:
        path: JSON lines in any of the known formats, also mixed.
        skip_bad: leave malformed lines out instead of refusing the file.

    Raises:
        UsageError: the file cannot be read or has no task, or a line is malformed; the message names it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the task file {path}: {error.strerror}") from None
    found = _parse(content.splitlines(), str(path))
    if found.complaints and not skip_bad:
        more = len(found.complaints) - 1
        rest = f" ({more} more malformed line{'s' if more > 1 else ''})" if more else ""
        raise UsageError(f"{found.complaints[0]}{rest}; --skip-bad leaves malformed lines out")
    if not found.tasks:
        raise UsageError(f"{path} has no tasks; allowed: JSON lines with id, task and turns")
    return found


def built_in_tasks() -> list[Task]:
    """Return the prompts that ship with specframe: seven tasks."""
    file = resources.files("specframe.request").joinpath("tasks.jsonl")
    found = _parse(file.read_bytes().splitlines(), BUILT_IN)
    assert not found.complaints
    return found.tasks


def choose(tasks: Iterable[Task], *, skip: int = 0, limit: int | None = None) -> list[Task]:
    """Return ``limit`` tasks of every kind after the first ``skip`` of each, the kinds taking turns."""
    by_task: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        by_task[task.task].append(task)
    end = None if limit is None else skip + limit
    chosen = [of_one_kind[skip:end] for of_one_kind in by_task.values()]
    return [task for round_ in itertools.zip_longest(*chosen) for task in round_ if task is not None]


def _parse(lines: Iterable[bytes], name: str) -> TaskFile:
    tasks: dict[str, Task] = {}
    complaints = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            task = _task(line)
            if task.id in tasks:
                raise ValueError(f"id {task.id!r} appears a second time")
        except ValueError as error:
            complaints.append(f"{name}, line {number}: {error}")
        else:
            tasks[task.id] = task
    return TaskFile(list(tasks.values()), complaints)


def _task(line: bytes) -> Task:
    try:
        values = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    for keys, read in _FORMATS.items():
        if values.keys() >= set(keys):
            return read(values)
    formats = "; ".join(", ".join(keys) for keys in _FORMATS)
    raise ValueError(f"no known format: its keys are {', '.join(values) or 'none'}; allowed: {formats}")


def _own(values: dict[str, Any]) -> Task:
    task = _text(values, "task")
    return Task(
        id=_identifier(values, "id"),
        task=task,
        category=_text(values, "category") if "category" in values else task,
        turns=_turns(values),
    )


def _spec_bench(values: dict[str, Any]) -> Task:
    category = _text(values, "category")
    return Task(
        id=_identifier(values, "question_id"),
        task="conversation" if category in _CONVERSATIONS else category,
        category=category,
        turns=_turns(values),
    )


def _human_eval(values: dict[str, Any]) -> Task:
    return Task(
        id=_identifier(values, "task_id"),
        task="code",
        category="human_eval",
        turns=(_text(values, "prompt"),),
    )


_FORMATS: dict[tuple[str, ...], Callable[[dict[str, Any]], Task]] = {
    ("id", "task", "turns"): _own,
    ("question_id", "category", "turns"): _spec_bench,
    ("task_id", "prompt"): _human_eval,
}


def _identifier(values: dict[str, Any], key: str) -> str:
    value = values[key]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(values, key)


def _text(values: dict[str, Any], key: str) -> str:
    value = values[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be a text that is not empty")
    return value


def _turns(values: dict[str, Any]) -> tuple[str, ...]:
    turns = values["turns"]
    if not isinstance(turns, list) or not turns:
        raise ValueError("turns must be a list of at least one text")
    if not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise ValueError("every turn must be a text that is not empty")
    return tuple(turns)
