from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def roofline() -> ModuleType:
    """The script in ``benchmarks/``, which is no package."""
    spec = importlib.util.spec_from_file_location("roofline", ROOT / "benchmarks" / "roofline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["roofline"] = module
    spec.loader.exec_module(module)
    return module


def compiled_table() -> list[str]:
    """Return registers / KiB of shared memory / 128-bit loads of each kernel per target, for H = 4096."""
    facts = json.loads((ROOT / "tests" / "kernels" / "compiled.json").read_text(encoding="utf-8"))
    cells: dict[str, list[str]] = {}
    for fact in facts["kernels"]:
        if fact["hidden_size"] in (0, 4096):
            kib = round(fact["shared_bytes"] / 1024)
            cells.setdefault(fact["kernel"], []).append(f"{fact['registers']} / {kib} / {fact['wide_loads']}")
    return [f"| {name} | {' | '.join(row)} |" for name, row in cells.items()]


def test_the_page_shows_what_the_compiler_made_of_the_kernels() -> None:
    assert [line for line in compiled_table() if line not in PAGE] == []


def test_the_page_shows_the_estimates_of_the_script(roofline: ModuleType) -> None:
    setting = roofline.Setting()
    lines = roofline.table(roofline.MODELS, roofline.DEVICES, setting)
    lines += roofline.operations(roofline.MODELS[0], roofline.DEVICES, setting)
    assert [line for line in lines if line not in PAGE] == []


def test_an_estimate_is_the_slower_of_traffic_and_arithmetic(roofline: ModuleType) -> None:
    device = roofline.Device("round numbers", bandwidth=10.0, peak=100.0)
    assert device.seconds(20, 100) == 2.0
    assert device.seconds(20, 500) == 5.0


def test_fewer_rows_shorten_the_head_and_nothing_else(roofline: ModuleType) -> None:
    model, device, setting = roofline.MODELS[0], roofline.DEVICES[0], roofline.Setting()
    full, half = (roofline.draft_time(model, device, setting, rows, 0) for rows in (128_000, 64_000))
    assert half.backbone == full.backbone
    assert half.head == pytest.approx(full.head / 2, rel=0.01)


def test_the_drafter_has_the_weights_of_an_eagle_layer(roofline: ModuleType) -> None:
    llama = roofline.MODELS[0]
    fc, q_and_o, k_and_v, mlp = 2 * 4096**2, 2 * 4096**2, 2 * 4096 * 1024, 3 * 4096 * 14336
    assert llama.drafter_weights == fc + q_and_o + k_and_v + mlp
