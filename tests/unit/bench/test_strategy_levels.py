"""The page about strategies shows the estimates of the script that makes them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def levels() -> ModuleType:
    """The script in ``benchmarks/``, which is no package."""
    spec = importlib.util.spec_from_file_location(
        "strategy_levels", ROOT / "benchmarks" / "strategy_levels.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["strategy_levels"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_estimates(levels: ModuleType) -> None:
    models = [one for one in levels.MODELS if one.name in ("Llama-3.1-8B", "Qwen2.5-7B")]
    lines = [line for model in models for line in levels.table(model, levels.DEVICES)]
    assert [line for line in lines if line not in PAGE] == []


def test_a_full_head_reads_every_row_once_for_all_states(levels: ModuleType) -> None:
    model = levels.MODELS[0]
    full = levels.Head("full", dense=model.vocab_size)
    rows = model.vocab_size * model.hidden_size * 2
    assert full.bytes(model, 1) == pytest.approx(rows, rel=1e-3)
    assert full.bytes(model, 10) == pytest.approx(rows, rel=1e-3)


def test_candidates_are_read_for_each_state(levels: ModuleType) -> None:
    model = levels.MODELS[0]
    screened, bare = levels.Head("a", candidates=64), levels.Head("b")
    for states in (1, 10):
        added = screened.bytes(model, states) - bare.bytes(model, states)
        assert added == states * 64 * model.hidden_size * 2
