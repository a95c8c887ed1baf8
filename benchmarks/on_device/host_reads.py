"""Part *reads*: how often the host waits for the device in a generation, counted by PyTorch's profiler.

A generation begins and ends with waits of its own, and so does the profiler. What a target pass costs is the
difference between a longer and a shorter generation, divided by the passes that they differ by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import attrs
from torch.profiler import ProfilerActivity, profile

from on_device.lossless import configurations
from on_device.parts import Row, Setup
from on_device.targets import Checked, checked_target

# What the runtimes of CUDA and ROCm call it; a wait for an event that is over is none.
_WAITS = (
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "cudaMemcpy",
    "hipStreamSynchronize",
    "hipDeviceSynchronize",
    "hipMemcpy",
    "hipMemcpyWithStream",
)
_EVENT_WAITS = ("cudaEventSynchronize", "hipEventSynchronize")
# Into pinned memory the host goes on; into pageable memory it waits.
_READS = ("Memcpy DtoH (Device -> Pageable)", "CopyDeviceToHost")
_SHORT, _LONG = 24, 72
_MINIATURE = (4, 8)
_MOST = 1.05  # one for the verdict


@attrs.frozen
class Counts:
    """What a profile has of it.

    Attributes:
        waits: calls in which the host waits for the device.
        reads: copies from the device into pageable memory.
        event_waits: waits for an event, most of which is over.
    """

    waits: int
    reads: int
    event_waits: int


def check(setup: Setup) -> Iterator[Row]:
    """Yield the waits per target pass of drafts over few tokens and over all."""
    with checked_target(setup) as checked:
        for what, settings in configurations(checked, setup).items():
            if "eagle" in what:
                yield Row.of(what, partial(_counted, what, checked, settings, setup))
    if setup.miniature:
        yield Row("waits for the device", None, "no GPU: the profiler ran, and there was nothing to count")


def _counted(what: str, checked: Checked, settings: dict[str, Any], setup: Setup) -> Row:
    engine, prompt = checked.engine(**settings), checked.prompts[0]
    counts, passes = [], []
    for new_tokens in _MINIATURE if setup.miniature else (_SHORT, _LONG):
        engine.generate(prompt, new_tokens)  # captures whatever the profiled one replays
        with profile(activities=_activities(setup)) as profiler:
            report = engine.generate(prompt, new_tokens)
        counts.append(counted(event.name for event in profiler.events() or ()))
        passes.append(report.target_passes)
    more = passes[1] - passes[0]
    if setup.miniature:
        return Row(what, counts[1] == Counts(0, 0, 0), f"{passes[1]} target passes, no call to a GPU")
    if not counts[1].waits:
        return Row(what, None, "the profiler saw no call to the device")
    if more < 1:
        return Row(what, None, f"both texts ended after {passes[1]} target passes; give another --model")
    per_pass = {
        field.name: round((getattr(counts[1], field.name) - getattr(counts[0], field.name)) / more, 2)
        for field in attrs.fields(Counts)
    }
    said = f"{per_pass['waits']:g} waits and {per_pass['reads']:g} reads per target pass"
    said += f"; {counts[1].waits} and {counts[1].reads} in a generation of {passes[1]} passes"
    within = per_pass["waits"] <= _MOST and per_pass["reads"] <= _MOST
    figures = {f"{name}_per_pass": value for name, value in per_pass.items()}
    totals = {f"{name}_in_all": value for name, value in attrs.asdict(counts[1]).items()}
    return Row(what, within, said, {**figures, **totals, "target_passes": passes[1]})


def _activities(setup: Setup) -> list[Any]:
    return [ProfilerActivity.CPU] if setup.miniature else [ProfilerActivity.CPU, ProfilerActivity.CUDA]


def counted(names: Iterable[str]) -> Counts:
    """Return how often the names of a profile's events are waits and reads."""
    waits = reads = event_waits = 0
    for name in names:
        waits += name in _WAITS
        reads += name in _READS
        event_waits += name in _EVENT_WAITS
    return Counts(waits, reads, event_waits)
