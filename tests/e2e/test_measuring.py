"""What a figure costs: recording a step takes a fraction of the step, and reads nothing from the device."""

from __future__ import annotations

import statistics
from time import perf_counter

import pytest
import torch
from seven_prompts import SEVEN_PROMPTS

from specframe.config import RunConfig
from specframe.contracts.clock import Phase, PhaseClock
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine
from specframe.engine.drafting.autoregressive import Autoregressive
from specframe.engine.engine import Engine
from specframe.engine.recorder import GenerationRecorder
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt


class NotingClock(PhaseClock):
    """Keeps the length of every lap."""

    def __init__(self) -> None:
        super().__init__()
        self.laps: list[tuple[Phase, float]] = []
        self._before = perf_counter()

    def lap(self, phase: Phase) -> None:
        super().lap(phase)
        now = perf_counter()
        self.laps.append((phase, now - self._before))
        self._before = now


def seconds_per_lap() -> float:
    clock, begin = PhaseClock(), perf_counter()
    for _ in range(10_000):
        clock.lap("other")
    return (perf_counter() - begin) / 10_000


def seconds_to_sum_up(passes: int) -> float:
    """Return how long the statistics of a generation take when it is over."""
    recorder, figures = GenerationRecorder(), Autoregressive().figures
    for _ in range(passes):
        recorder.record(DraftTree.root_only(3), Verdict((0,), (), 4, True), (4,), figures)
    begin = perf_counter()
    recorder.steps()
    return perf_counter() - begin


@pytest.fixture(scope="module")
def engine(smollm2_bfloat16: Target) -> Engine:
    return build_engine(RunConfig(strategy="nanospec", dtype="bfloat16"), target=smollm2_bfloat16)


def test_measuring_a_step_takes_less_than_a_hundredth_of_it(engine: Engine) -> None:
    prompt_ids = encode_prompt(engine.target.tokenizer, SEVEN_PROMPTS["qa"])
    engine.generate(prompt_ids, 8)  # warm
    engine.clock = clock = NotingClock()
    report = engine.generate(prompt_ids, 32)
    # Medians: another process may take the core away at any moment.
    recording = statistics.median(length for phase, length in clock.laps if phase == "statistics")
    target_pass = statistics.median(length for phase, length in clock.laps if phase == "target_pass")
    laps = len(clock.laps) / report.target_passes * seconds_per_lap()
    summing_up = min(seconds_to_sum_up(report.target_passes) for _ in range(3)) / report.target_passes
    assert recording + laps + summing_up < 0.01 * target_pass, "a target pass is the shorter part of a step"


def test_the_report_says_what_recording_cost(engine: Engine) -> None:
    report = engine.generate(torch.tensor([5, 6, 7]), 4)
    assert 0 < report.statistics_s < report.draft_s
