from __future__ import annotations

import logging
from importlib.metadata import entry_points
from typing import Any

import pytest

from specframe_vllm import plugin
from specframe_vllm.compatibility import MODEL_RUNNER_V1, MODEL_RUNNER_V2, SCHEDULING, HookPoint

POINTS = (*MODEL_RUNNER_V1, *MODEL_RUNNER_V2, *SCHEDULING)


def methods() -> list[Any]:
    """Return vLLM's methods as they are now."""
    return [vars(point.find())[point.method] for point in POINTS]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which vLLM has not called the plugin yet, and whose vLLM stays as it was."""
    monkeypatch.setattr(plugin, "_registered", False)
    monkeypatch.setattr(plugin.metrics, "register", lambda: None)
    for point in POINTS:
        monkeypatch.setattr(point.find(), point.method, vars(point.find())[point.method])


@pytest.mark.usefixtures("fresh")
def test_registering_again_changes_nothing() -> None:
    before = methods()
    plugin.register()
    once = methods()
    plugin.register()
    assert methods() == once
    assert not any(now is then for now, then in zip(once, before, strict=True))


@pytest.mark.usefixtures("fresh")
def test_an_unknown_vllm_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = HookPoint("vllm.v1.worker.gpu_model_runner", "GPUModelRunner", "sample_all", ())
    monkeypatch.setattr(plugin, "MODEL_RUNNER_V1", (*MODEL_RUNNER_V1, gone))
    before = methods()
    with caplog.at_level(logging.WARNING, logger="vllm.specframe"):
        plugin.register()
    assert methods() == before
    [message] = [record.getMessage() for record in caplog.records if record.name == "vllm.specframe"]
    assert "there is no GPUModelRunner.sample_all" in message
    assert "\n" not in message


@pytest.mark.usefixtures("fresh")
def test_a_scheduler_that_is_unknown_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = HookPoint("vllm.v1.core.sched.scheduler", "Scheduler", "plan", ())
    monkeypatch.setattr(plugin, "SCHEDULING", (*SCHEDULING, gone))
    before = methods()
    with caplog.at_level(logging.WARNING, logger="vllm.specframe"):
        plugin.register()
    changed = [now is not then for now, then in zip(methods(), before, strict=True)]
    assert changed == [True] * (len(POINTS) - len(SCHEDULING)) + [False] * len(SCHEDULING)
    [message] = [record.getMessage() for record in caplog.records if record.name == "vllm.specframe"]
    assert "there is no Scheduler.plan" in message


def test_vllm_finds_it_by_itself() -> None:
    [found] = entry_points(group="vllm.general_plugins", name="specframe")
    assert found.load() is plugin.register
