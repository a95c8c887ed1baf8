"""Prometheus metrics: written by the workers, collected where vLLM serves ``/metrics``.

Those are different processes as a rule. They share a folder with a small file for each engine, which its
worker keeps mapped into memory.
"""

from __future__ import annotations

import atexit
import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from specframe_vllm.figures import Figures

# The folder; whoever is first sets it, and the processes that it starts inherit it.
VARIABLE = "SPECFRAME_VLLM_METRICS"
# What the files of schedulers begin with; those of workers are the engine's number.
_SCHEDULER = "scheduler-"


@attrs.frozen(slots=True)
class Written:
    """What is in the file of an engine.

    Attributes:
        figures: counted since the first engine of the process.
        active: tokens that were active at the last step, of all its active sets in the mean.
        seconds: that the plugin took on the host, drafting and learning.
    """

    figures: Figures = attrs.field(factory=Figures)
    active: float = 0.0
    seconds: float = 0.0


@attrs.frozen(slots=True)
class Drafted:
    """What is in the file of an engine's scheduler.

    Attributes:
        steps: since the first engine of the process.
        undrafted: those that drafted nothing, because drafts do not pay there.
        undrafted_from: from how many requests on nothing is drafted; 0 where more are drafted too.
    """

    steps: int = 0
    undrafted: int = 0
    undrafted_from: int = 0


_FORMAT = struct.Struct("<5q2d")
_DRAFTED_FORMAT = struct.Struct("<3q")


class FigureFile:
    """The file of an engine; what an earlier engine of this process counted goes on.

    Args:
        folder: where it lies.
        engine: number of the engine: its data-parallel index.
    """

    def __init__(self, folder: Path, engine: int) -> None:
        path = folder / str(engine)
        self._before = read_figures(path)
        self._memory = _mapped(path, _pack(self._before))

    def write(self, written: Written) -> None:
        """Write what an engine counted since it started."""
        before = self._before
        sums = (a + b for a, b in zip(_counts(before), _counts(written), strict=True))
        self._memory[:] = _pack(Written(Figures(*sums), written.active, before.seconds + written.seconds))


class DraftedFile:
    """The file of an engine's scheduler; what an earlier engine of this process counted goes on.

    Args:
        folder: where it lies.
        engine: number of the engine: its data-parallel index.
    """

    def __init__(self, folder: Path, engine: int) -> None:
        path = folder / f"{_SCHEDULER}{engine}"
        self._before = read_drafted(path)
        self._memory = _mapped(path, _DRAFTED_FORMAT.pack(*attrs.astuple(self._before)))

    def write(self, drafted: Drafted) -> None:
        """Write what the scheduler counted since it started."""
        before = self._before
        self._memory[:] = _DRAFTED_FORMAT.pack(
            before.steps + drafted.steps, before.undrafted + drafted.undrafted, drafted.undrafted_from
        )


def _mapped(path: Path, content: bytes) -> mmap.mmap:
    """Return a file mapped into memory, with what is in it, or else with ``content``."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Where it is there already it stays: shortening it would pull it from under readers.
    if not path.is_file() or path.stat().st_size != len(content):
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_bytes(content)
        scratch.replace(path)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), len(content))


def read_drafted(path: Path) -> Drafted:
    """Return what is in the file of a scheduler; nothing where there is none yet."""
    content = _content(path)
    if len(content) != _DRAFTED_FORMAT.size:
        return Drafted()
    return Drafted(*_DRAFTED_FORMAT.unpack(content))


def read_figures(path: Path) -> Written:
    """Return what is in the file of an engine; nothing where there is none yet."""
    content = _content(path)
    if len(content) != _FORMAT.size:
        return Written()
    *counts, active, seconds = _FORMAT.unpack(content)
    return Written(Figures(*counts), active, seconds)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # not there yet, or cleaned away just now
        return b""


def _counts(written: Written) -> tuple[int, ...]:
    return attrs.astuple(written.figures)


def _pack(written: Written) -> bytes:
    return _FORMAT.pack(*_counts(written), written.active, written.seconds)


class FigureCollector:
    """Reads the files of all engines whenever somebody asks for metrics; without engines there are none.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, a sample of each for every engine."""
        yield from self._of_workers()
        yield from self._of_schedulers()

    def _of_schedulers(self) -> Iterator[Metric]:
        files = sorted(self._folder.glob(f"{_SCHEDULER}*")) if self._folder.is_dir() else []
        if not files:
            return
        steps = CounterMetricFamily("specframe_steps", "Steps of the engine.", labels=["engine"])
        undrafted = CounterMetricFamily(
            "specframe_undrafted_steps",
            "Steps that drafted nothing, because drafts do not pay.",
            labels=["engine"],
        )
        start = GaugeMetricFamily(
            "specframe_undrafted_from_requests",
            "From how many requests at once on nothing is drafted; 0 for never.",
            labels=["engine"],
        )
        for file in files:
            engine, drafted = file.name.removeprefix(_SCHEDULER), read_drafted(file)
            steps.add_metric([engine], drafted.steps)
            undrafted.add_metric([engine], drafted.undrafted)
            start.add_metric([engine], drafted.undrafted_from)
        yield from (steps, undrafted, start)

    def _of_workers(self) -> Iterator[Metric]:
        files = sorted(self._folder.glob("[0-9]*")) if self._folder.is_dir() else []
        if not files:
            return
        engines = {file.name: read_figures(file) for file in files}
        counters = {
            "specframe_target_passes": ("Target passes over a draft.", "passes"),
            "specframe_emitted_tokens": ("Tokens that they emitted.", "emitted"),
            "specframe_covered_tokens": ("Emitted tokens that were active when drafted.", "covered"),
            "specframe_oov_rejections": (
                "Passes that ended at a token that was not active.",
                "oov_rejections",
            ),
            "specframe_active_tokens_summed": ("Active tokens, summed over the passes.", "active"),
        }
        for name, (about, field) in counters.items():
            counter = CounterMetricFamily(name, about, labels=["engine"])
            for engine, written in engines.items():
                counter.add_metric([engine], getattr(written.figures, field))
            yield counter
        seconds = CounterMetricFamily("specframe_host_seconds", "Seconds on the host.", labels=["engine"])
        active = GaugeMetricFamily("specframe_active_tokens", "Active tokens now.", labels=["engine"])
        coverage = GaugeMetricFamily(
            "specframe_coverage", "Share of emitted tokens that were active.", labels=["engine"]
        )
        oov = GaugeMetricFamily(
            "specframe_oov_share",
            "Share of passes that ended at a token that was not active.",
            labels=["engine"],
        )
        for engine, written in engines.items():
            figures = written.figures
            seconds.add_metric([engine], written.seconds)
            active.add_metric([engine], written.active)
            coverage.add_metric([engine], figures.covered / max(figures.emitted, 1))
            oov.add_metric([engine], figures.oov_rejections / max(figures.passes, 1))
        yield from (seconds, active, coverage, oov)


def folder() -> Path:
    """Return the folder of this process and those that it starts; it is there once an engine drafts."""
    return Path(os.environ[VARIABLE])


def register() -> None:
    """Have the metrics of the engines that this process starts collected by it."""
    if not os.environ.get(VARIABLE):  # an empty name would be the folder that the process runs in
        mine = Path(tempfile.gettempdir()) / f"specframe-vllm-{os.getpid()}-{os.urandom(4).hex()}"
        os.environ[VARIABLE] = str(mine)
        atexit.register(_remove, mine, os.getpid())
    REGISTRY.register(FigureCollector(folder()))


def _remove(mine: Path, owner: int) -> None:
    # A forked child runs the handlers of its parent too.
    if os.getpid() == owner:
        shutil.rmtree(mine, ignore_errors=True)
