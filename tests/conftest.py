from __future__ import annotations

import os

# Read when triton is imported, which transformers does; set it to 0 to run the kernels on a device.
os.environ["TRITON_INTERPRET"] = os.environ.get("TRITON_INTERPRET", "1")
# Read when torch is imported, here and in the processes that tests start. Most tensors are tiny: a second
# thread costs more than it computes, and `make test` gives every core a worker of its own.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine, command_line
from not_run import pytest_unconfigure  # noqa: F401
from paper_machines import costs_for, paper_costs
from tiny_models import reference_greedy, tiny_model, tiny_target, tiny_tokenizer

from specframe.config import AUTO
from specframe.engine.known_costs import KnownCosts, setup_of
from specframe.model import loading
from specframe.model.loading import CACHE_VARIABLE, cache_directory, load_pretrained
from specframe.model.target import Target
from specframe.ops import contention
from specframe.ops.cpu import multiplies_bfloat16
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead


def pytest_report_header() -> str:
    """Say what the numbers of this run depend on."""
    capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    products = "with" if multiplies_bfloat16() else "without"
    return f"cpu: {capability} {products} bfloat16 products; threads per process: {threads}"


@pytest.fixture(autouse=True)
def _commands_change_no_threads_of_other_tests() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


_known_costs = KnownCosts.of


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_measured_by_accident(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whoever asks for no costs goes by those of a machine on paper, so that drafts are the same everywhere.

    What commands in processes of their own measure is kept in a folder of this session, which shares nothing
    with the user's but converted models.
    """
    models, folder = cache_directory() / "models", tmp_path_factory.mktemp("cache")
    models.mkdir(parents=True, exist_ok=True)
    (folder / "models").symlink_to(models, target_is_directory=True)

    def of(config: Any, target: Any, drafter: Any, options: Any, make_backend: Any) -> KnownCosts:
        if config.costs != AUTO:
            return _known_costs(config, target, drafter, options, make_backend)
        setup = setup_of(config, target, drafter, options)
        return KnownCosts(costs_for(paper_costs(), setup, drafter.branching))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        patch.setattr(KnownCosts, "of", of)
        yield


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What a user gets who asks for no costs: they are measured. The folder that keeps them."""
    models, folder = cache_directory() / "models", tmp_path / "cache"
    folder.mkdir()
    (folder / "models").symlink_to(models, target_is_directory=True)
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    monkeypatch.setattr(KnownCosts, "of", _known_costs)
    monkeypatch.setattr(contention, "QUIET", float("inf"))  # other tests run beside this one
    return folder / "costs"


@pytest.fixture(autouse=True)
def _every_test_asks_the_hub_anew() -> None:
    loading._reach_hub.cache_clear()


@pytest.fixture(scope="session")
def smollm2() -> Target:
    """The SmolLM2 demo model in float32."""
    return Target(load_pretrained("smollm2-135m", torch.float32))


@pytest.fixture(scope="session")
def smollm2_greedy(smollm2: Target) -> Callable[[torch.Tensor, int], list[int]]:
    """``smollm2_greedy(prompt_ids, n)`` is what transformers generates: the dearest thing here, so kept."""
    known: dict[tuple[int, ...], tuple[int, list[int]]] = {}

    def generate(prompt_ids: torch.Tensor, max_new_tokens: int) -> list[int]:
        prompt = tuple(prompt_ids.tolist())
        if known.get(prompt, (0, []))[0] < max_new_tokens:
            known[prompt] = max_new_tokens, reference_greedy(smollm2.model, prompt_ids, max_new_tokens)
        return known[prompt][1][:max_new_tokens]

    return generate


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
