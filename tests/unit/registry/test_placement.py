"""What `auto` takes as device and as dtype."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from specframe.config import RunConfig
from specframe.errors import UsageError
from specframe.registry.placement import auto_dtype, find_device, resolve_placement

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _no_gpu_and_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("specframe.registry.placement.multiplies_bfloat16", lambda: False)


def multiplying_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specframe.registry.placement.multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)


def checkpoint(folder: Path, **config: object) -> str:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr("specframe.registry.placement.find_device", lambda name: torch.device(name))
    assert resolve_placement(RunConfig(dtype="float32")).device == "cuda"


def test_without_a_gpu_the_cpu_is_taken() -> None:
    assert resolve_placement(RunConfig()).device == "cpu"


def test_a_device_that_is_not_here_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="device 'cuda:77' is not available; available: auto, cpu"):
        find_device("cuda:77")


@pytest.mark.parametrize(
    ("stored", "device", "taken"),
    [
        ("float32", CPU, "float32"),
        ("bfloat16", CPU, "bfloat16"),
        ("float16", CPU, "float32"),
        (None, CPU, "float32"),
        ("float8_e4m3fn", CPU, "float32"),
        ("float32", GPU, "float32"),
        ("bfloat16", GPU, "bfloat16"),
        ("float16", GPU, "float16"),
    ],
)
def test_the_dtype_is_the_checkpoints_where_the_device_multiplies_it(
    stored: str | None, device: torch.device, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiplying_bfloat16(monkeypatch)
    assert auto_dtype(device, stored).name == taken


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
def test_a_cpu_without_half_precision_takes_float32(stored: str) -> None:
    assert auto_dtype(CPU, stored).name == "float32"


def test_a_gpu_without_bfloat16_takes_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert auto_dtype(GPU, "bfloat16").name == "float32"


@pytest.mark.parametrize("model", ["smollm2-135m", "somewhere/model.Q4_1.gguf"])
def test_quantised_files_count_as_bfloat16(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    multiplying_bfloat16(monkeypatch)
    assert resolve_placement(RunConfig(model=model)).dtype == "bfloat16"


@pytest.mark.parametrize(
    "config",
    [{"dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}, {"text_config": {"dtype": "bfloat16"}}],
)
def test_a_directory_has_the_dtype_of_its_config(
    config: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiplying_bfloat16(monkeypatch)
    assert resolve_placement(RunConfig(model=checkpoint(tmp_path, **config))).dtype == "bfloat16"


def test_a_float32_checkpoint_stays_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multiplying_bfloat16(monkeypatch)
    assert resolve_placement(RunConfig(model=checkpoint(tmp_path, dtype="float32"))).dtype == "float32"


def test_a_broken_config_is_left_to_loading(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[", encoding="utf-8")
    assert resolve_placement(RunConfig(model=str(tmp_path))).dtype == "float32"


def test_what_was_asked_for_stays() -> None:
    assert resolve_placement(RunConfig(dtype="bfloat16", device="cpu")).dtype == "bfloat16"


def test_the_log_says_what_was_taken_and_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="specframe"):
        resolve_placement(RunConfig())
    assert caplog.messages == [
        "device: cpu, no CUDA or ROCm device is here",
        "dtype: float32, the checkpoint has bfloat16, which this cpu does not multiply",
    ]


def test_a_process_held_down_to_avx2_takes_float32() -> None:
    code = (
        "from specframe.registry.placement import resolve_placement; "
        "from specframe.config import RunConfig; print(resolve_placement(RunConfig(device='cpu')).dtype)"
    )
    held_down = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **held_down}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "float32", done.stderr
