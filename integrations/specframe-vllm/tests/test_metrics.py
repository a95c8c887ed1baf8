from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from specframe_vllm import metrics
from specframe_vllm.figures import Figures
from specframe_vllm.metrics import Drafted, DraftedFile, FigureCollector, FigureFile, Written

COUNTED = Figures(passes=4, emitted=10, covered=9, oov_rejections=1, active=1200)


def scrape(folder: Path) -> str:
    registry = CollectorRegistry()
    registry.register(FigureCollector(folder))
    return generate_latest(registry).decode()


def test_without_an_engine_there_are_no_metrics(tmp_path: Path) -> None:
    assert scrape(tmp_path / "nothing") == ""


def test_what_an_engine_wrote_is_collected(tmp_path: Path) -> None:
    FigureFile(tmp_path, 0).write(Written(COUNTED, 300.0, 0.5))
    lines = scrape(tmp_path).splitlines()
    assert 'specframe_active_tokens{engine="0"} 300.0' in lines
    assert 'specframe_coverage{engine="0"} 0.9' in lines
    assert 'specframe_oov_share{engine="0"} 0.25' in lines
    assert 'specframe_emitted_tokens_total{engine="0"} 10.0' in lines


def test_counters_go_on_when_an_engine_is_started_again(tmp_path: Path) -> None:
    for _ in range(2):
        FigureFile(tmp_path, 0).write(Written(COUNTED, 300.0, 0.5))
    assert 'specframe_target_passes_total{engine="0"} 8.0' in scrape(tmp_path).splitlines()


def test_every_engine_has_samples_of_its_own(tmp_path: Path) -> None:
    for engine in (0, 1):
        FigureFile(tmp_path, engine).write(Written(COUNTED, 300.0 + engine, 0.5))
    assert 'specframe_active_tokens{engine="1"} 301.0' in scrape(tmp_path).splitlines()


def test_what_a_scheduler_wrote_is_collected(tmp_path: Path) -> None:
    DraftedFile(tmp_path, 0).write(Drafted(steps=100, undrafted=80, undrafted_from=8))
    lines = scrape(tmp_path).splitlines()
    assert 'specframe_steps_total{engine="0"} 100.0' in lines
    assert 'specframe_undrafted_steps_total{engine="0"} 80.0' in lines
    assert 'specframe_undrafted_from_requests{engine="0"} 8.0' in lines


def test_steps_are_counted_on_when_an_engine_is_started_again(tmp_path: Path) -> None:
    for _ in range(2):
        DraftedFile(tmp_path, 0).write(Drafted(steps=100, undrafted=80, undrafted_from=8))
    lines = scrape(tmp_path).splitlines()
    assert 'specframe_steps_total{engine="0"} 200.0' in lines
    assert 'specframe_undrafted_from_requests{engine="0"} 8.0' in lines


def test_an_empty_variable_names_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metrics.VARIABLE, "")
    monkeypatch.setattr(metrics, "REGISTRY", CollectorRegistry())
    monkeypatch.setattr(metrics.atexit, "register", lambda *_: None)
    monkeypatch.setattr(metrics.tempfile, "gettempdir", lambda: str(tmp_path))
    metrics.register()
    assert metrics.folder().parent == tmp_path


@pytest.mark.parametrize("name", ["0", "scheduler-0"])
def test_a_file_that_is_cleaned_away_while_it_is_collected_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).symlink_to(tmp_path / "cleaned")
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    assert '{engine="0"} 0.0' in scrape(tmp_path)
