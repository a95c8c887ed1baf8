"""The progress bar of a benchmark or a replay, with the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress_bar(
    total: int, done: int = 0, what: str = "generations", *, stays: bool = True
) -> Iterator[Callable[[], None]]:
    """Show a progress bar on standard error; yields what is called when one more is done.

    Args:
        total: how many there are.
        done: how many of them an earlier run did.
        what: they are.
        stays: what it came to is left behind, in a log too; otherwise only a terminal shows it, for a while.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    silent = not (stays or console.is_terminal)
    with Progress(*columns, console=console, transient=not stays, disable=silent) as progress:
        bar = progress.add_task(what, total=total, completed=done)
        yield lambda: progress.advance(bar)
