"""The rows of a benchmark: one generation each, one line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import attrs

from specframe.contracts.records import structure
from specframe.contracts.report import GenerationReport, Rejection, StepStats
from specframe.errors import SpecframeError

# Keys of older files that say nothing any more: passes by what a controller chose, before costs decided.
_RETIRED = ("controller",)


@attrs.frozen(slots=True, kw_only=True)
class Steps:
    """The target passes of a generation: lists of equal length, one entry per pass.

    Attributes:
        active_size: K when the step was drafted.
        tree_nodes: N, the root included.
        emitted: tokens emitted, cut at the end of the generation.
        accepted: accepted drafted tokens among them, which is the depth at which the path ended.
        covered: emitted tokens that were in the active set when the step was drafted.
        rejection: why the path ended; None when it ended at a leaf of the tree.
        rows_fetched: LM-head rows fetched since the step before was drafted, or since the request began.
    """

    active_size: list[int]
    tree_nodes: list[int]
    emitted: list[int]
    accepted: list[int]
    covered: list[int]
    rejection: list[Rejection | None]
    rows_fetched: list[int]

    @classmethod
    def of(cls, steps: Iterable[StepStats]) -> Steps:
        """Return the lists for the statistics of consecutive target passes."""
        steps = list(steps)
        return cls(
            active_size=[step.active_size for step in steps],
            tree_nodes=[step.tree_nodes for step in steps],
            emitted=[len(step.emitted_ids) for step in steps],
            accepted=[step.accepted for step in steps],
            covered=[step.covered for step in steps],
            rejection=[step.rejection for step in steps],
            rows_fetched=[step.rows_fetched for step in steps],
        )


@attrs.frozen(slots=True, kw_only=True)
class Losslessness:
    """Whether a generation is what the target says, ties between tokens aside.

    Margins are by teacher forcing in the run's dtype: the row's largest logit minus a token's own.

    Attributes:
        equal: the ids are those of the autoregressive baseline; None for the baseline itself, and where the
            run has none.
        divergence: index of the first token that differs from the baseline's; None when none does.
        margin: of the token emitted there; None without a divergence, and where the text is the baseline's
            but ends earlier or later, which is no tie and does not pass.
        baseline_margin: of the baseline's token there.
        largest_margin: of any emitted token.
        not_maximum: emitted tokens with a margin above 0.
        tolerance: the largest margin that passes for a tie.
        passed: no margin is above the tolerance, and the text ends where it must.
    """

    equal: bool | None
    divergence: int | None
    margin: float | None
    baseline_margin: float | None
    largest_margin: float
    not_maximum: int
    tolerance: float
    passed: bool


@attrs.frozen(slots=True, kw_only=True)
class BenchRow:
    """One generation of one configuration: its report, and what the benchmark adds.

    ``None`` stands for what is not known: a peer knows nothing of its steps.

    Attributes:
        report: of the generation; in a file its keys stand beside the others.
        category: of the prompt within its task.
        configuration: label, as it was typed: ``nanospec:capacity=1024``.
        order: place among the configurations of this prompt, from 0; it rotates from prompt to prompt.
        packed_bytes: of the gather backend's packed head; 0 when it reads the full head where it is.
        store_bytes: of the active set's tensors and the bookkeeping of admission.
        head_bytes: of the drafter's full LM head, with the copy that the CPU multiplies by.
        steps: of every target pass.
        lossless: None when the verifier draws, so that there is no one right text.
    """

    report: GenerationReport
    category: str
    configuration: str
    order: int
    packed_bytes: int | None = None
    store_bytes: int | None = None
    head_bytes: int | None = None
    steps: Steps | None = None
    lossless: Losslessness | None = None

    @property
    def prompt(self) -> tuple[str, str]:
        """Task and id of the prompt: the same id may be in two tasks."""
        return self.report.task, self.report.id

    @property
    def sampling(self) -> tuple[float, ...]:
        """The sampling parameters; speeds are compared where they are equal."""
        one = self.report
        return one.temperature, one.top_p, one.top_k, one.min_p, one.repetition_penalty


def to_line(row: BenchRow) -> str:
    """Return a row as one line of JSON, newline included."""
    values = attrs.asdict(row)
    values = {**values.pop("report"), **values}
    return json.dumps({name: values[name] for name in _keys()}) + "\n"


def _keys() -> dict[str, None]:
    """Return the keys of a row in the order of all files: what tells rows apart comes first."""
    of_report = [*attrs.fields_dict(GenerationReport)]
    of_report.remove("unknown_ids")
    of_report.insert(of_report.index("accept_by_depth"), "unknown_ids")  # where it was from the first
    beside = [name for name in attrs.fields_dict(BenchRow) if name != "report"]
    return dict.fromkeys(("id", "task", "category", "configuration", "order", *of_report, *beside))


def read_rows(path: Path) -> list[BenchRow]:
    """Return the rows of a finished file.

    Raises:
        SpecframeError: the file cannot be read, or a line of it is no row; the message has its number.
    """
    return [_row(line, path, number) for number, line in enumerate(_lines(path), start=1)]


def read_interrupted(path: Path) -> list[BenchRow]:
    """Return the rows of a file whose writer may have been interrupted, without a half-written last line.

    Raises:
        SpecframeError: the file cannot be read, or a complete line of it is no row.
    """
    lines = _lines(path)
    if lines and not lines[-1].endswith("\n"):
        del lines[-1]
    return [_row(line, path, number) for number, line in enumerate(lines, start=1)]


def _lines(path: Path) -> list[str]:
    try:
        return [line.decode("utf-8", "replace") for line in path.read_bytes().splitlines(keepends=True)]
    except OSError as error:
        raise SpecframeError(f"cannot read {path}: {error.strerror}") from None


def _row(line: str, path: Path, number: int) -> BenchRow:
    try:
        return structure(BenchRow, _nested(json.loads(line)))
    except ValueError as error:
        raise SpecframeError(f"{path}, line {number}: not a row of specframe bench: {error}") from None


def _nested(values: object) -> object:
    """Return what a line was read as, with the keys of the report in an object of their own."""
    if not isinstance(values, dict):
        return values
    values = {name: value for name, value in values.items() if name not in _RETIRED}
    of_report = attrs.fields_dict(GenerationReport)
    report = {name: value for name, value in values.items() if name in of_report}
    return {**{name: value for name, value in values.items() if name not in of_report}, "report": report}
