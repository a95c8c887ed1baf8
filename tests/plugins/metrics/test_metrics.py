"""Metrics count what a generation did, by the names that vLLM has; where nobody asked there are none."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pluggy
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tiny_engines import drafting_engine, repetitive_target

from specframe import RunConfig
from specframe.contracts.report import GenerationReport
from specframe.engine.engine import Engine
from specframe.errors import PluginError
from specframe.registry.manager import create_plugin_manager
from specframe.registry.observers import Observers
from specframe_plugins.metrics import plugin
from specframe_plugins.metrics.observer import Metrics

PROMPT = [5, 17, 42, 8, 33, 12, 5, 17, 42, 8, 33, 12]
LABELS = {"model_name": "smollm2-135m", "strategy": "nanospec", "drafter": "eagle"}


@pytest.fixture(autouse=True)
def _every_test_asks_anew() -> Iterator[None]:
    plugin._exporter.cache_clear()
    yield
    plugin._exporter.cache_clear()


def watched(*observers: object) -> pluggy.PluginManager:
    manager = create_plugin_manager(entry_points=False)
    for number, observer in enumerate(observers):
        manager.register(observer, name=f"observer-{number}")
    return manager


def engine(*observers: object) -> Engine:
    return drafting_engine(repetitive_target(), observers=Observers(watched(*observers)))


def generated(engine: Engine) -> GenerationReport:
    return engine.generate(PROMPT, 40)


def samples_of(file: Path) -> dict[str, Sample]:
    """Return the last sample of every name."""
    families = text_string_to_metric_families(file.read_text(encoding="utf-8"))
    return {sample.name: sample for family in families for sample in family.samples}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_sums_are_those_of_the_report() -> None:
    registry = CollectorRegistry()
    report = generated(made := engine(Metrics(registry)))

    def value(name: str, **more: str) -> float | None:
        return registry.get_sample_value(name, LABELS | more)

    drafted = [step for step in made.steps if step.tree_nodes > 1]
    accepted = [step.accepted for step in made.steps]
    emitted = sum(len(step.emitted_ids) for step in made.steps)
    assert value("vllm:spec_decode_num_drafts_total") == len(drafted)
    assert value("vllm:spec_decode_num_draft_tokens_total") == sum(step.tree_nodes - 1 for step in drafted)
    assert value("vllm:spec_decode_num_accepted_tokens_total") == sum(accepted) > 0
    first = value("vllm:spec_decode_num_accepted_tokens_per_pos_total", position="0")
    assert first == sum(one >= 1 for one in accepted)
    assert value("specframe_target_passes_total") == report.target_passes
    assert value("specframe_emitted_tokens_total") == emitted == report.new_tokens - 1
    assert value("specframe_oov_rejections_total") == report.oov_rejections
    assert value("specframe_drafter_misses_total") == report.drafter_misses
    assert value("specframe_coverage") == pytest.approx(report.coverage)
    assert value("specframe_active_tokens") == made.steps[-1].active_size
    assert report.active_mean is not None
    summed = value("specframe_active_tokens_summed_total")
    assert summed == pytest.approx(report.active_mean * report.target_passes)


def test_positions_add_up_to_the_accepted_tokens() -> None:
    registry = CollectorRegistry()
    generated(engine(Metrics(registry)))
    (per_position,) = (m for m in registry.collect() if m.name.endswith("per_pos"))
    total = registry.get_sample_value("vllm:spec_decode_num_accepted_tokens_total", LABELS)
    assert sum(sample.value for sample in per_position.samples) == total


def test_engines_are_told_apart_by_what_they_run() -> None:
    registry = CollectorRegistry()
    metrics, other = Metrics(registry), RunConfig(strategy="autoregressive", model="their-model")
    made = engine(metrics)
    generated(made)
    metrics.specframe_step_finished(made.steps[0], other)
    labels = {"model_name": "their-model", "strategy": "autoregressive", "drafter": "none"}
    assert registry.get_sample_value("specframe_target_passes_total", labels) == 1
    assert registry.get_sample_value("specframe_target_passes_total", LABELS) == len(made.steps)


def test_a_file_holds_what_prometheus_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(plugin.VARIABLE, str(tmp_path / "run.prom"))
    report = generated(engine(plugin.PLUGIN))
    samples = samples_of(tmp_path / "run.prom")
    assert samples["specframe_target_passes_total"].value == report.target_passes
    assert samples["specframe_target_passes_total"].labels == LABELS


def test_an_address_answers_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv(plugin.VARIABLE, str(port))
    generated(engine(plugin.PLUGIN))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"vllm:spec_decode_num_drafts_total{" in answer.read()


def test_engines_of_a_process_count_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(plugin.VARIABLE, str(tmp_path / "run.prom"))
    passes = sum(generated(engine(plugin.PLUGIN)).target_passes for _ in range(2))
    assert samples_of(tmp_path / "run.prom")["specframe_target_passes_total"].value == passes


def test_a_busy_port_is_one_line_and_the_generation_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv(plugin.VARIABLE, f"127.0.0.1:{port}")
        for _ in range(2):
            assert generated(engine(plugin.PLUGIN)).new_tokens == 40
    (record,) = caplog.records
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in record.getMessage()


@pytest.mark.parametrize("value", ["0", "70000", "here:", "run.txt", "no-such-folder/run.prom"])
def test_any_other_place_is_refused_when_plugins_are_loaded(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(plugin.VARIABLE, value)
    with pytest.raises(PluginError, match=rf"SPECFRAME_METRICS is '{value}'; allowed: PORT") as raised:
        create_plugin_manager()
    assert "\n" not in str(raised.value)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugin.VARIABLE, "9464")
    for name in [*sys.modules]:
        if name.startswith(("prometheus_client", "specframe_plugins.metrics.")) and name != plugin.__name__:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(PluginError, match=r"needs prometheus-client: pip install 'specframe\[metrics\]'"):
        create_plugin_manager()


def test_nobody_listens_to_steps_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plugin.VARIABLE, raising=False)
    manager = create_plugin_manager()
    assert any(name.startswith("specframe-metrics") for name, _ in manager.list_name_plugin())
    assert manager.hook.specframe_step_finished.get_hookimpls() == []


def test_nothing_of_prometheus_is_imported_unless_asked() -> None:
    code = (
        "import sys; from specframe.registry.manager import create_plugin_manager as make; make()\n"
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
