"""From what was typed after ``specframe bench`` to what is run; what needs torch comes last."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from specframe.bench.configurations import DEFAULT, PEERS, Configuration, parse_configurations
from specframe.bench.report.directory import check_report_directory
from specframe.config import AUTO, AUTOREGRESSIVE, DEFAULT_STRATEGY, UNPRUNED, RunConfig
from specframe.contracts.options import option
from specframe.contracts.records import check_file_place
from specframe.errors import UsageError, unknown_name
from specframe.ops.notes import note
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.named import check_named
from specframe.registry.registry import Registry
from specframe.request.tasks import BUILT_IN, Task, built_in_tasks, choose, read_tasks

# Largest margin that passes for a tie, in logits. Two passes of different shape round differently: float32
# by about 1e-5 of a logit; bfloat16 keeps 8 bits, so that logits near 20 are 0.125 apart, and float16 11.
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.0625}


@attrs.frozen(slots=True, kw_only=True)
class BenchArguments:
    """What may be typed after ``specframe bench``, apart from the settings of a run."""

    tasks: Path | None = option(
        None,
        help="Task prompts, one JSON object per line: our format, Spec-Bench's or HumanEval's.",
        absent="built-in prompts of seven tasks",
        metavar="FILE",
    )
    strategies: Sequence[str] = option(
        (),
        help=f"What to compare, separated by commas; repeatable. A strategy, `{AUTOREGRESSIVE}`, or a peer: "
        f"{' and '.join(f'`{peer}`' for peer in PEERS)} are transformers' own. Options follow a colon: "
        f"{DEFAULT_STRATEGY}:capacity=1024,drafter.nodes=16.",
        flags=("-s", "--strategies"),
        absent=f"{','.join(DEFAULT)}; with --sweep {DEFAULT_STRATEGY}",
        metavar="NAME[:KEY=VALUE,...],...",
    )
    sweep: bool = option(
        False,
        help="Find the fastest options here, in rounds on fresh prompts that each keep the faster half. A "
        "single configuration is compared with what its drafter offers; others with each other, for example "
        f"'{DEFAULT_STRATEGY}:drafter.nodes=6|12'.",
    )
    limit_per_task: int | None = option(
        None, help="Prompts per task; of each round with --sweep.", absent="all, or 1", metavar="N"
    )
    skip_per_task: int = option(
        0, help="Prompts to leave out at the start of each task.", minimum=0, metavar="N"
    )
    json: Path | None = option(
        None,
        help="Where the rows go, one JSON object per prompt and configuration; OUT.meta.json beside it says "
        "how they came about. The same command goes on where it was interrupted. With --sweep there is a "
        "file per round, OUT.round1.jsonl and so on.",
        metavar="OUT.jsonl",
    )
    skip_bad: bool = option(False, help="Leave malformed lines and prompts that are too long out.")
    chat: bool | None = option(
        None,
        help="Wrap prompts as one user turn, or take them as they are.",
        flags=("--chat/--raw",),
        absent="--chat if the tokenizer has a chat template",
    )
    threads: int | None = option(None, help="Threads of a CPU.", absent="PyTorch's choice", metavar="N")
    tolerance: float | None = option(
        None,
        help="How far a token may be below the target's largest logit and still pass for tied with it.",
        absent=", ".join(f"{logits:g} in {dtype}" for dtype, logits in sorted(TOLERANCES.items())),
        metavar="LOGITS",
    )
    report: Path | None = option(
        None, help="Write a page with charts here; an earlier report is replaced.", metavar="DIR"
    )
    record: Path | None = option(
        None,
        help="Keep what a strategy sees for `specframe replay`. The configuration that is recorded pays for "
        "it: leave it out of comparisons of speed.",
        metavar="TRACE",
    )
    record_configuration: str | None = option(
        None,
        help="The configuration to record. Any strategy can be scored from trees over the full vocabulary.",
        absent=f"{UNPRUNED} if it is among them, else the first that drafts",
        metavar="NAME[:KEY=VALUE,...]",
    )
    record_topk: int = option(8, help="How many of the target's top ids to record per position.", metavar="K")
    record_window: int = option(
        256, help="For how many of the last prompt positions to record them.", metavar="P"
    )
    record_hidden: bool = option(
        False,
        help="Record the drafter's hidden states too, in half precision, so that strategies with a screen "
        "can be scored. A line says how much that may be.",
    )

    def __attrs_post_init__(self) -> None:
        for name, value in (("limit-per-task", self.limit_per_task), ("threads", self.threads)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} is {value}; allowed: 1 or more")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise UsageError(f"--tolerance is {self.tolerance:g}; allowed: 0 or more")

    @property
    def source(self) -> str:
        """Where the prompts come from, as it was typed."""
        return BUILT_IN if self.tasks is None else str(self.tasks)


@attrs.frozen(slots=True, kw_only=True)
class BenchOptions:
    """What a benchmark is asked to do.

    Attributes:
        arguments: as they were typed.
        tasks: the prompts, in their order.
        configurations: what is compared.
        base: what all configurations have in common, ``max_new_tokens`` included.
        tolerance: largest margin of a token that passes for a tie, in logits.
        skipped: lines of the task file that were left out already.
        command: as it was typed.
    """

    arguments: BenchArguments = BenchArguments()
    tasks: Sequence[Task]
    configurations: Sequence[Configuration]
    base: RunConfig
    tolerance: float
    skipped: int = 0
    command: str = ""


def prepare(arguments: BenchArguments, base: RunConfig) -> BenchOptions:
    """Return what to run; what was left out with ``--skip-bad`` is said on standard error.

    Raises:
        UsageError: something that was typed, or the task file, is not allowed.
    """
    if arguments.report is not None:
        check_report_directory(arguments.report)
    for file in (arguments.json, arguments.record):
        if file is not None:
            check_file_place(file)
    if arguments.sweep and arguments.record is not None:
        raise UsageError("--record is given with --sweep; allowed: one of them")
    compared = (DEFAULT_STRATEGY,) if arguments.sweep else DEFAULT
    configurations = parse_configurations(arguments.strategies or compared)
    if not configurations:
        raise UsageError("--strategies is empty; allowed: at least one name")
    if base.dtype not in (AUTO, *TOLERANCES):
        raise unknown_name("dtype", base.dtype, [AUTO, *TOLERANCES])
    tasks, skipped = _tasks(arguments)
    check_names(configurations, base, build_registry(create_plugin_manager()))
    from specframe.registry.placement import resolve_placement

    base = resolve_placement(base)
    return BenchOptions(
        arguments=arguments,
        tasks=tasks,
        configurations=configurations,
        base=base,
        tolerance=TOLERANCES[base.dtype] if arguments.tolerance is None else arguments.tolerance,
        skipped=skipped,
        command=shlex.join(["specframe", *sys.argv[1:]]),
    )


def check_names(configurations: Sequence[Configuration], base: RunConfig, registry: Registry) -> None:
    """Raise a ``UsageError`` for what is wrong without a look at the machine: a name, an option, a setting.

    Args:
        configurations: what is compared.
        base: what all configurations have in common.
        registry: has the components.
    """
    known = [*registry.names("vocabulary"), AUTOREGRESSIVE, *PEERS]
    for configuration in configurations:
        if configuration.name not in known:
            raise unknown_name("strategy", configuration.name, known)
        if configuration.is_peer:
            continue
        config = configuration.run_config(base)
        if config.warm == "conversation":
            raise UsageError(
                "warm is conversation, and prompts of a benchmark are no turns of one; allowed: off or shared"
            )
        check_named(config, registry)


def _tasks(arguments: BenchArguments) -> tuple[list[Task], int]:
    """Return the chosen tasks, and how many lines of their file were left out."""
    tasks, skipped = built_in_tasks(), 0
    if arguments.tasks is not None:
        found = read_tasks(arguments.tasks, skip_bad=arguments.skip_bad)
        tasks, skipped = found.tasks, len(found.complaints)
        if skipped:
            note(
                f"left out {skipped} malformed line{'s' if skipped > 1 else ''}, the first: "
                f"{found.complaints[0]}"
            )
    limit = None if arguments.sweep else arguments.limit_per_task  # a sweep divides them among its rounds
    chosen = choose(tasks, skip=arguments.skip_per_task, limit=limit)
    if not chosen:
        raise UsageError(
            f"no task has more than {arguments.skip_per_task} prompts; allowed: a smaller --skip-per-task"
        )
    return chosen, skipped
