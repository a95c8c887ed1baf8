from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import pytest

from specframe_vllm import plugin
from specframe_vllm.compatibility import CONFIGURE, MODEL_RUNNER_V1, MODEL_RUNNER_V2, SCHEDULING, HookPoint

POINTS = (CONFIGURE, *MODEL_RUNNER_V1, *MODEL_RUNNER_V2, *SCHEDULING)


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
@pytest.mark.parametrize(
    ("lacking", "left", "what"),
    [
        ("CONFIGURE", [CONFIGURE], "well enough to check settings before a model is loaded"),
        ("MODEL_RUNNER_V2", MODEL_RUNNER_V2, "well enough for model runner V2, which drafts as without"),
        ("SCHEDULING", SCHEDULING, "well enough to leave large batches undrafted"),
    ],
    ids=["what makes configs", "model runner V2", "scheduler"],
)
def test_a_vllm_of_which_a_part_is_unknown_loses_that_part(
    monkeypatch: pytest.MonkeyPatch,
    logged: list[logging.LogRecord],
    lacking: str,
    left: Sequence[HookPoint],
    what: str,
) -> None:
    gone = HookPoint(left[0].module, left[0].owner, "gone", ())
    monkeypatch.setattr(plugin, lacking, gone if lacking == "CONFIGURE" else (*left, gone))
    before = {point: vars(point.find())[point.method] for point in POINTS}
    plugin.register()
    kept = [point for point in POINTS if vars(point.find())[point.method] is before[point]]
    assert kept == list(left)
    [line] = [record.getMessage() for record in logged]
    assert what in line
    assert f"there is no {left[0].owner}.gone" in line
    assert "tested: 0.32.0" in line


def test_vllm_finds_it_by_itself() -> None:
    [found] = entry_points(group="vllm.general_plugins", name="specframe")
    assert found.load() is plugin.register
