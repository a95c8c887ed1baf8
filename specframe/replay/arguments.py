"""What may be typed after ``specframe replay``; a file of its own, since the command line reads it first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from specframe.config import COMPARED, DEFAULT_STRATEGY
from specframe.contracts.options import option


@attrs.frozen(slots=True, kw_only=True)
class ReplayArguments:
    """What a replay is asked to do."""

    trace: Path = option(help="A file that --record has written.", metavar="TRACE")
    strategies: Sequence[str] = option(
        (),
        help="Strategies to score, separated by commas; repeatable. Options follow a colon: "
        f"{DEFAULT_STRATEGY}:capacity=1024,harvest_topk=1.",
        flags=("-s", "--strategies"),
        absent=",".join(COMPARED),
        metavar="NAME[:KEY=VALUE,...],...",
    )
    task: Sequence[str] = option(
        (), help="Requests of this task only; repeatable.", absent="all", metavar="TASK"
    )
    limit_per_task: int | None = option(None, help="Requests per task.", absent="all", metavar="N")
    plot: Path | None = option(
        None,
        help="Draw coverage against active size, with its Pareto front, and by step.",
        metavar="FILE.png",
    )
    tune: str | None = option(
        None,
        help="Search the options of this strategy, those after the colon aside: the least head and fetch "
        "time above the coverage floor.",
        metavar="NAME[:KEY=VALUE,...]",
    )
    coverage_floor: float = option(0.9, help="Least coverage of what --tune may choose.", metavar="SHARE")
    trials: int = option(
        100, help="Choices that --tune tries in all, those in --storage included.", metavar="N"
    )
    storage: Path | None = option(
        None, help="Keep the trials of --tune here, to go on later; SQLite.", metavar="FILE"
    )
    costs: Path | None = option(
        None,
        help="Measured times of the packed head for --tune; written when there is no such file.",
        absent="beside --storage; measured anew without one",
        metavar="FILE.json",
    )
    json: bool = option(False, help="Print one JSON object and nothing else.")
