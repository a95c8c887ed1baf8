"""The rows of a benchmark: one generation each, one line of JSON each."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from specframe.contracts.report import FinishReason, PassesPerArm, Rejection, StepStats
from specframe.contracts.sampling import NEUTRAL
from specframe.errors import SpecframeError


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
    """One generation of one configuration, with the keys of ``run --json`` and some more.

    ``None`` stands for what is not known: a peer knows nothing of its steps. Times are seconds; the keys of
    ``specframe.contracts.tree.GenerationReport`` mean what they mean there.

    Attributes:
        configuration: label, as it was typed: ``nanospec:capacity=1024``.
        category: of the prompt within its task.
        order: place among the configurations of this prompt, from 0; it rotates from prompt to prompt.
        steps: of every target pass.
        lossless: None when the verifier draws, so that there is no one right text.
        packed_bytes: of the gather backend's packed head; 0 when it reads the full head where it is.
        store_bytes: of the active set's tensors and the bookkeeping of admission.
        head_bytes: of the drafter's full LM head, with the copy that the CPU multiplies by.
    """

    id: str
    task: str
    category: str
    configuration: str
    order: int
    strategy: str
    drafter: str | None
    verifier: str | None
    gather: str | None
    model: str
    dtype: str
    device: str
    seed: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    lossy: bool
    prompt_tokens: int
    kept_tokens: int
    token_ids: list[int]
    text: str
    finish_reason: FinishReason
    new_tokens: int
    target_passes: int | None
    tau: float | None
    wall_s: float
    prefill_s: float | None
    draft_s: float | None
    draft_backbone_s: float | None
    draft_head_s: float | None
    draft_tree_s: float | None
    vocabulary_s: float | None
    statistics_s: float | None
    verify_s: float | None
    active_mean: float | None
    active_max: int | None
    coverage: float | None
    oov_rejections: int | None
    drafter_misses: int | None
    unknown_ids: int | None
    accept_by_depth: list[float] | None
    controller: PassesPerArm | None
    fallback: str | None
    peak_rss_bytes: int
    specframe_version: str
    packed_bytes: int | None
    store_bytes: int | None
    head_bytes: int | None
    steps: Steps | None
    lossless: Losslessness | None

    @property
    def sampling(self) -> tuple[float, ...]:
        """The sampling parameters; speeds are compared where they are equal."""
        return tuple(getattr(self, name) for name in NEUTRAL)

    @property
    def tokens_per_s(self) -> float:
        """New tokens per second of wall time, prefill included."""
        return self.new_tokens / self.wall_s if self.wall_s else 0.0


def to_line(row: BenchRow) -> str:
    """Return a row as one line of JSON, newline included."""
    return json.dumps(attrs.asdict(row)) + "\n"


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
        row: BenchRow = _structure(BenchRow, json.loads(line))
    except (ValueError, TypeError) as error:
        raise SpecframeError(f"{path}, line {number}: not a row of specframe bench: {error}") from None
    return row


def _structure(cls: type[Any], values: object) -> Any:
    """Return an instance of an attrs class from what its JSON was read as; keys and types must be right."""
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    hints = typing.get_type_hints(cls)
    for wrong, what in ((hints.keys() - values.keys(), "missing"), (values.keys() - hints.keys(), "unknown")):
        if wrong:
            raise ValueError(f"key {min(wrong)!r} is {what}")
    return cls(**{name: _value(hint, values[name], name) for name, hint in hints.items()})


def _value(hint: Any, value: object, name: str) -> Any:
    """Return a value that fits its annotation: a plain type, a literal, a list, an attrs class, a union."""
    choices = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in choices:
            return None
        rest = [choice for choice in choices if choice is not type(None)]
        return _value(typing.Union[tuple(rest)], value, name)  # noqa: UP007 - built at run time
    if origin is list and isinstance(value, list):
        return [_value(choices[0], item, name) for item in value]
    if origin is typing.Literal and value in choices:
        return value
    if attrs.has(hint):
        return _structure(hint, value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is None and type(value) is hint:
        return value
    raise ValueError(f"{name} cannot be {json.dumps(value)[:40]}")
