"""A part of the check: it runs in a process of its own, for a limited time, and yields rows as it goes.

A kernel that reads where it may not leaves the device unusable for its process, and a capture may wait
forever: neither must take the other parts along. Rows are handed over one by one, so that what was found out
before stays.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any, Protocol, TypeVar

import attrs

T = TypeVar("T")

Figure = float | int | str | None

# Slow to import, besides the parts themselves. Every part's process begins as a copy of one that has them.
_PRELOADED = ("transformers.models.llama.modeling_llama", "transformers.generation.utils")


@attrs.frozen(kw_only=True)
class Setup:
    """What a part is to look at.

    Attributes:
        device: ``cuda:0`` or ``cpu``.
        model: the target: what ``specframe run --model`` takes, ``random``, or None for SmolLM2 if it is
            installed.
        seconds: after so many the part is ended.
    """

    device: str
    model: str | None = None
    seconds: float = 60.0

    @property
    def miniature(self) -> bool:
        """Whether everything is small, because there is no GPU."""
        return self.device == "cpu"


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        what: was looked at.
        ok: whether it is as it should be; None for what could not be shown here.
        said: what came out.
        figures: what was measured, by name with its unit; nothing that was not.
        trace: where it broke, or None.
    """

    what: str
    ok: bool | None
    said: str
    figures: Mapping[str, Figure] = attrs.field(factory=dict)
    trace: str | None = None

    @classmethod
    def of(cls, what: str, look: Callable[[], T]) -> T | Row:
        """Return what ``look`` returns, or how it broke: the rows after it may still say something."""
        try:
            return look()
        except Exception as error:  # whatever goes wrong on a device is what the check is for
            said = " ".join(f"{type(error).__name__}: {error}".split())
            return cls(what, False, said, trace=traceback.format_exc())


class Check(Protocol):
    """What the module of a part has."""

    def check(self, setup: Setup) -> Iterator[Row]:
        """Yield what was found out."""
        ...


@attrs.frozen(kw_only=True)
class Part:
    """A part and its share of the time.

    Attributes:
        name: in table and JSON.
        module: whose ``check`` yields its rows.
        weight: share of the time that is left when it begins, against the parts after it.
    """

    name: str
    module: str
    weight: float


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a part.

    Attributes:
        name: of the part.
        seconds: that it took.
        limit_s: that it had.
        rows: what it found out.
    """

    name: str
    seconds: float
    limit_s: float
    rows: list[Row]


def run_all(parts: list[Part], setup: Setup, seconds: float) -> Iterator[Outcome]:
    """Yield what becomes of each part; together they take no longer than ``seconds``.

    What a part does not need is left to those after it.
    """
    end = monotonic() + seconds
    get_context("forkserver").set_forkserver_preload([*_PRELOADED, *(part.module for part in parts)])
    for index, part in enumerate(parts):
        share = part.weight / sum(later.weight for later in parts[index:])
        yield run(part, attrs.evolve(setup, seconds=share * max(end - monotonic(), 0.0)))


def run(part: Part, setup: Setup) -> Outcome:
    """Run a part in a process of its own, and end it when its time is over."""
    begin = monotonic()
    rows: list[Row] = []
    ended = False
    context = get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(part.module, part.name, setup, theirs), daemon=False)
    try:
        process.start()
    except (OSError, EOFError) as error:  # what all processes begin as has broken; it said why
        said = f"its process did not begin: {type(error).__name__}: {error}"
        return Outcome(name=part.name, seconds=0.0, limit_s=setup.seconds, rows=[Row(part.name, False, said)])
    theirs.close()
    while not ended and ours.poll(max(begin + setup.seconds - monotonic(), 0.0)):
        try:
            message = ours.recv()
        except EOFError:  # the process is gone
            process.join(5.0)
            rows.append(Row(part.name, False, f"its process ended with code {process.exitcode}"))
            break
        if message is None:
            ended = True
        else:
            rows.append(message)
    else:
        if not ended:
            rows.append(Row(part.name, False, f"had not ended after its {setup.seconds:.0f} s"))
    _end(process, patience=5.0 if ended else 0.0)
    return Outcome(name=part.name, seconds=monotonic() - begin, limit_s=setup.seconds, rows=rows)


def _work(module: str, name: str, setup: Setup, rows: Connection) -> None:
    """Send every row of a part, then None."""

    def work() -> None:
        import torch

        if setup.miniature:  # for what is that small, a second thread only waits for the first
            torch.set_num_threads(1)
        check: Check | Any = importlib.import_module(module)
        for row in check.check(setup):
            rows.send(row)

    broken = Row.of(name, work)
    if broken is not None:
        rows.send(broken)
    rows.send(None)


def _end(process: Any, patience: float) -> None:
    """Wait a moment for a process, then end it."""
    process.join(patience)
    if process.is_alive():
        process.terminate()
        process.join(2.0)
    if process.is_alive():
        process.kill()
        process.join()
