from __future__ import annotations

import os

# Read when triton is imported, which transformers does; set it to 0 to run the kernels on a device.
os.environ["TRITON_INTERPRET"] = os.environ.get("TRITON_INTERPRET", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command_line import CommandLine, command_line
from tiny_models import tiny_model, tiny_target, tiny_tokenizer

from specframe.model import loading
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

# Reductions depend on the number of threads; two, or the one core that the run is pinned to.
torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))


@pytest.fixture(autouse=True)
def _commands_change_no_threads_of_other_tests() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _every_test_asks_the_hub_anew() -> None:
    loading._reach_hub.cache_clear()


@pytest.fixture(autouse=True, scope="session")
def _answers_of_test_models_stay_out_of_the_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    directory = tmp_path_factory.mktemp("answers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "answer_directory", lambda: directory)
        yield


@pytest.fixture(scope="session")
def smollm2() -> Target:
    """The SmolLM2 demo model in float32."""
    return Target(load_pretrained("smollm2-135m", torch.float32))


@pytest.fixture(scope="session")
def smollm2_bfloat16() -> Target:
    """The SmolLM2 demo model in bfloat16."""
    return Target(load_pretrained("smollm2-135m", torch.bfloat16))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """``cli("run", "--json")`` runs ``specframe run --json``."""
    return command_line(monkeypatch, capsys)


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama on disk, with its tokenizer; treat it as read-only."""
    directory = tmp_path_factory.mktemp("tiny")
    tiny_model().save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random EAGLE head for the tiny model."""
    target = tiny_target()
    torch.manual_seed(0)
    config = EagleConfig.for_target(
        target.config, target_name=target.name, tokenizer_fingerprint=target.tokenizer_fingerprint
    )
    directory = tmp_path_factory.mktemp("heads") / "tiny"
    save_head(EagleHead(config), directory)
    return directory
