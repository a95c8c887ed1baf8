"""Drafts over what screens find never change the output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from states import uneven_states
from tiny_engines import PROMPT, repetitive_target
from tiny_models import reference_greedy

from specframe.config import RunConfig
from specframe.contracts.report import GenerationReport
from specframe.contracts.sampling import SamplingParams
from specframe.engine.assembly import build_engine
from specframe.engine.draft_states import DraftStates
from specframe.errors import UsageError
from specframe.model.loading import CACHE_VARIABLE
from specframe.model.target import Target
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

SCREENS: dict[str, dict[str, Any]] = {
    "lowrank": {"rank": 8, "candidates": 20},
    "nanospec+lowrank": {"capacity": 60, "rank": 4, "candidates": 8},
    "clusters": {"groups": 4, "size": 8},
}


@pytest.fixture(autouse=True)
def ready_states(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Drafting the built-in prompts takes a while; what a screen is fitted to cannot change the output."""

    def sample(self: DraftStates, count: int) -> torch.Tensor:
        return uneven_states(100, self.drafter.output_head.hidden_size)

    monkeypatch.setattr(DraftStates, "sample", sample)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def repetitive(request: pytest.FixtureRequest) -> Target:
    return repetitive_target(request.param)


def generate(
    target: Target, folder: Path, strategy: str, temperature: float = 0.0, **options: Any
) -> GenerationReport:
    torch.manual_seed(0)
    save_head(EagleHead(EagleConfig.for_target(target.config)), folder / "head")
    config = RunConfig(
        strategy=strategy,
        dtype="float32",
        sampling=SamplingParams(temperature=temperature),
        options={
            "vocabulary": SCREENS[strategy] | options,
            "drafter": {"checkpoint": str(folder / "head"), "lookup": 0},
        },
    )
    return build_engine(config, target=target).generate(PROMPT, 40)


@pytest.mark.parametrize("strategy", SCREENS)
def test_the_output_is_the_targets(repetitive: Target, strategy: str, tmp_path: Path) -> None:
    report = generate(repetitive, tmp_path, strategy)
    assert report.token_ids == reference_greedy(repetitive.model, torch.tensor(PROMPT), 40)


@pytest.mark.parametrize("strategy", SCREENS)
def test_a_sampled_run_goes_over_screens_too(repetitive: Target, strategy: str, tmp_path: Path) -> None:
    assert len(generate(repetitive, tmp_path, strategy, temperature=0.8).token_ids) == 40


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        (
            "lowrank",
            {"rank": 1000},
            r": rank 1000 is above the \d+ columns of the LM head; allowed: 1 to \d+$",
        ),
        (
            "lowrank",
            {"candidates": 1000},
            r"^strategy 'lowrank' wants 1000 candidates .*; allowed: 1 to \d+$",
        ),
        ("lowrank", {"rows": 1000}, r": 1000 rows of an LM head of \d+ .*; allowed: 20 to \d+ rows$"),
        ("clusters", {"groups": 900}, r"^strategy 'clusters' wants 7200 candidates .*; allowed: 1 to \d+$"),
        ("nanospec+lowrank", {"rank": 1000}, r": rank 1000 is above"),
    ],
)
def test_what_does_not_fit_the_head_is_one_line(
    repetitive: Target, strategy: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        generate(repetitive, tmp_path, strategy, **options)


def test_for_a_drafter_without_a_head_no_screen_is_fitted(
    repetitive: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    config = RunConfig(
        strategy="lowrank", drafter="lookup", dtype="float32", options={"vocabulary": SCREENS["lowrank"]}
    )
    assert build_engine(config, target=repetitive).states is None
    assert not (tmp_path / "cache" / "states").exists()
