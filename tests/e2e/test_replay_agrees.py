"""A live run and the replay of its own trace meet the same active set at every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from seven_prompts import SEVEN_PROMPTS
from traces import PROMPTS, autoregressive_engine, endless_target, record, scripted_engine

from specframe.config import RunConfig
from specframe.contracts.report import StepStats
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.model.target import Target
from specframe.replay.offline import OfflineStrategy
from specframe.replay.recording import TraceRecorder
from specframe.replay.trace_file import read_trace
from specframe.request.prompts import encode_prompt


@pytest.fixture(scope="module")
def target() -> Target:
    return endless_target()


def replayed_steps(path: Path, strategy: str, options: dict[str, Any]) -> list[list[StepStats]]:
    trace = read_trace(path)
    offline = OfflineStrategy(trace.header, strategy, options)
    return [[step.stats for step in offline.replay(request).steps] for request in trace.requests]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"capacity": 16},
        {"capacity": 16, "eviction": "lru"},
        {"harvest_topk": 1, "prompt_window": 2},
        {"use_context": False},
        {"use_extension": False, "capacity": 12},
    ],
)
def test_a_tiny_model_agrees_step_by_step(target: Target, tmp_path: Path, options: dict[str, Any]) -> None:
    live = []
    with torch.inference_mode():
        for index, prompt_ids in enumerate(PROMPTS):
            engine = scripted_engine(target, prompt_ids, "nanospec", **options)
            record(engine, tmp_path / str(index), [prompt_ids])
            live.append(engine.steps)
    replayed = [
        replayed_steps(tmp_path / str(index), "nanospec", options)[0] for index in range(len(PROMPTS))
    ]
    assert replayed == live
    assert any(step.covered < len(step.emitted_ids) for steps in live for step in steps)
    assert any(step.accepted for steps in live for step in steps)


def test_smollm2_agrees_step_by_step(smollm2_bfloat16: Target, tmp_path: Path) -> None:
    config = RunConfig(
        strategy="nanospec",
        max_new_tokens=40,
        costs="off",  # a replay drafts at every pass, over the active set
        options={"vocabulary": {"capacity": "150", "eviction": "lru"}},
    )
    engine: Engine = build_engine(config, target=smollm2_bfloat16)
    live = []
    with TraceRecorder(engine, tmp_path / "t", topk=8, prompt_window=256, strategy="nanospec") as recorder:
        for task in ("code", "translation"):
            engine.generate(
                encode_prompt(smollm2_bfloat16.tokenizer, SEVEN_PROMPTS[task]), id=task, task=task
            )
            recorder.add()
            live.append(engine.steps)
    replayed = replayed_steps(tmp_path / "t", "nanospec", {"capacity": "150", "eviction": "lru"})
    assert replayed == live
    assert any(step.accepted for steps in live for step in steps)


def test_a_trace_without_drafts_gives_coverage(target: Target, tmp_path: Path) -> None:
    record(autoregressive_engine(target), tmp_path / "t", PROMPTS)
    for steps in replayed_steps(tmp_path / "t", "nanospec", {}):
        assert {step.accepted for step in steps} == {0}
        assert 0 < sum(step.covered for step in steps) < len(steps)
