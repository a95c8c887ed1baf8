"""From what was typed after ``specframe bench`` to what is run; what needs torch comes last."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from specframe.bench.configurations import DEFAULT, SWEPT_BY_DEFAULT, Configuration, parse_configurations
from specframe.config import AUTO, RunConfig
from specframe.errors import UsageError, unknown_name
from specframe.request.tasks import BUILT_IN, Task, built_in_tasks, choose, read_tasks

# Largest margin that passes for a tie, in logits. Two passes of different shape round differently: float32
# by about 1e-5 of a logit; bfloat16 keeps 8 bits, so that logits near 20 are 0.125 apart, and float16 11.
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.0625}


@attrs.frozen(slots=True, kw_only=True)
class BenchArguments:
    """What was typed, apart from the settings that ``specframe run`` knows too; see ``BenchOptions``."""

    tasks: Path | None
    strategies: Sequence[str]
    sweep: bool
    limit_per_task: int | None
    skip_per_task: int
    skip_bad: bool
    json: Path | None
    chat: bool | None
    threads: int | None
    tolerance: float | None


@attrs.frozen(slots=True, kw_only=True)
class BenchOptions:
    """What a benchmark is asked to do.

    Attributes:
        tasks: the prompts, in their order.
        source: where they come from, as it was typed.
        configurations: what is compared.
        base: what all configurations have in common, ``max_new_tokens`` included.
        chat: wrap prompts as one user turn; None: if the tokenizer has a chat template.
        prompts_per_round: of each task, in a round of a sweep; None when nothing is swept.
        threads: of PyTorch; None for its own choice.
        tolerance: largest margin of a token that passes for a tie, in logits.
        json: where the rows go; None keeps them in memory.
        skip_bad: leave out prompts that do not fit into the target.
        skipped: lines of the task file that were left out already.
        command: as it was typed.
    """

    tasks: Sequence[Task]
    source: str
    configurations: Sequence[Configuration]
    base: RunConfig
    chat: bool | None = None
    threads: int | None = None
    tolerance: float
    prompts_per_round: int | None = None
    json: Path | None = None
    skip_bad: bool = False
    skipped: int = 0
    command: str = ""


def prepare(arguments: BenchArguments, base: RunConfig) -> BenchOptions:
    """Return what to run; what was left out with ``--skip-bad`` is said on standard error.

    Raises:
        UsageError: something that was typed, or the task file, is not allowed.
    """
    for name, value in (("limit-per-task", arguments.limit_per_task), ("threads", arguments.threads)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}; allowed: 1 or more")
    if arguments.tolerance is not None and not arguments.tolerance >= 0:
        raise UsageError(f"--tolerance is {arguments.tolerance:g}; allowed: 0 or more")
    configurations = parse_configurations(
        arguments.strategies or (SWEPT_BY_DEFAULT if arguments.sweep else DEFAULT)
    )
    if not configurations:
        raise UsageError("--strategies is empty; allowed: at least one name")
    if base.dtype not in (AUTO, *TOLERANCES):
        raise unknown_name("dtype", base.dtype, [AUTO, *TOLERANCES])
    tasks, skipped = _tasks(arguments)
    from specframe.registry.choice import resolve_dtype

    base = resolve_dtype(base)
    return BenchOptions(
        tasks=tasks,
        source=BUILT_IN if arguments.tasks is None else str(arguments.tasks),
        configurations=configurations,
        base=base,
        chat=arguments.chat,
        threads=arguments.threads,
        tolerance=TOLERANCES[base.dtype] if arguments.tolerance is None else arguments.tolerance,
        prompts_per_round=arguments.limit_per_task or 1 if arguments.sweep else None,
        json=arguments.json,
        skip_bad=arguments.skip_bad,
        skipped=skipped,
        command=shlex.join(["specframe", *sys.argv[1:]]),
    )


def _tasks(arguments: BenchArguments) -> tuple[list[Task], int]:
    """Return the chosen tasks, and how many lines of their file were left out."""
    tasks, skipped = built_in_tasks(), 0
    if arguments.tasks is not None:
        found = read_tasks(arguments.tasks, skip_bad=arguments.skip_bad)
        tasks, skipped = found.tasks, len(found.complaints)
        if skipped:
            print(
                f"specframe: left out {skipped} malformed line{'s' if skipped > 1 else ''}, the first: "
                f"{found.complaints[0]}",
                file=sys.stderr,
            )
    limit = None if arguments.sweep else arguments.limit_per_task  # a sweep divides them among its rounds
    chosen = choose(tasks, skip=arguments.skip_per_task, limit=limit)
    if not chosen:
        raise UsageError(
            f"no task has more than {arguments.skip_per_task} prompts; allowed: a smaller --skip-per-task"
        )
    return chosen, skipped
