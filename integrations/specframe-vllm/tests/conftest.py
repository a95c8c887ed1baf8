from __future__ import annotations

import logging
import os
from collections.abc import Iterator

# Read when vLLM and torch are imported: one process, one thread, 1 GiB of KV cache, no network.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

from pathlib import Path

import pytest
from expand_on_cpu import mend
from tiny_checkpoints import save_eagle3, save_mimo, save_target

import specframe_vllm.settings

mend()


@pytest.fixture(autouse=True)
def _settings_come_from_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(specframe_vllm.settings.VARIABLE, raising=False)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose heads two ranks can share, with a tokenizer of words."""
    return save_target(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_eagle3(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A random EAGLE-3 head for it, with rows for every second token."""
    return save_eagle3(tmp_path_factory.mktemp("models") / "eagle3", tiny)


@pytest.fixture(scope="session")
def tiny_mimo(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The same with an MTP layer of its own."""
    return save_mimo(tmp_path_factory.mktemp("models") / "mimo", tiny)


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """What the plugin logs; noted by a filter, since vLLM takes handlers away when it configures logging."""
    records: list[logging.LogRecord] = []

    def note(record: logging.LogRecord) -> bool:
        records.append(record)
        return True

    logger = logging.getLogger("vllm.specframe")
    logger.addFilter(note)
    yield records
    logger.removeFilter(note)
