"""Strategies with a screen: drafts go over its candidates, and answers are those without drafts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from engines import answer, drafting_in, engine
from prompts import random_prompts
from safetensors.torch import save_file

from specframe.contracts.lm_head import OutputHead
from specframe.engine.draft_states import head_digest
from specframe.errors import UsageError
from specframe.model.loading import CACHE_VARIABLE

TOKENS = 24


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path


def keep_states(cache: Path, head: OutputHead) -> None:
    """Keep states as a run of specframe does; what a screen is fitted to decides only what it finds."""
    states = torch.randn(300, head.hidden_size, generator=torch.Generator().manual_seed(0)).half()
    (cache / "states").mkdir(exist_ok=True)
    save_file({"states": states}, cache / "states" / "kept.safetensors", {"head": head_digest(head)})


def drafting(tiny: Path, **settings: Any) -> dict[str, Any]:
    return {
        "speculative_config": {"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3},
        "additional_config": {"specframe": settings},
    }


@pytest.fixture(scope="module")
def undrafted(tiny: Path) -> list[list[int]]:
    with engine(tiny) as llm:
        return answer(llm, random_prompts(), TOKENS).token_ids


def head_of(tiny: Path) -> OutputHead:
    with engine(tiny, **drafting(tiny, strategy="exact-screen", candidates=8)) as llm:
        return drafting_in(llm).sets.stores[0].output_head


@pytest.mark.parametrize("sets", ["shared", "per_request"])
def test_an_exact_screen_drafts_what_the_full_vocabulary_does(
    tiny: Path, undrafted: list[list[int]], sets: str
) -> None:
    settings = {"strategy": "exact-screen", "candidates": 8, "sets": sets}
    with engine(tiny, **drafting(tiny, **settings)) as llm:
        found = answer(llm, random_prompts(), TOKENS)
    with engine(tiny, **drafting(tiny, strategy="full")) as llm:
        full = answer(llm, random_prompts(), TOKENS)
    assert found.token_ids == undrafted
    assert (found.accepted, found.drafts) == (full.accepted, full.drafts)
    assert found.accepted > 0


@pytest.mark.parametrize("strategy", ["lowrank", "nanospec+lowrank"])
def test_a_fitted_screen_takes_the_states_that_are_kept_for_the_head(
    tiny: Path, undrafted: list[list[int]], cache: Path, strategy: str
) -> None:
    keep_states(cache, head_of(tiny))
    settings = {"strategy": strategy, "rank": 16, "candidates": 32}
    with engine(tiny, **drafting(tiny, **settings)) as llm:
        found = answer(llm, random_prompts(), TOKENS)
        figures = drafting_in(llm).figures
    assert found.token_ids == undrafted
    assert found.accepted > 0
    assert figures is not None
    assert figures.active >= 32 * figures.passes


def test_without_states_one_line_says_how_they_are_made(tiny: Path) -> None:
    refused = pytest.raises(UsageError, match=r"no hidden states .* are made by: specframe run --strategy")
    with refused, engine(tiny, **drafting(tiny, strategy="lowrank", rank=16, candidates=32)):
        pass


def test_a_screen_counts_as_memory(tiny: Path) -> None:
    refused = pytest.raises(UsageError, match=r"active sets, screen, and buffers .* allowed: 0.0001 GiB")
    with refused, engine(tiny, **drafting(tiny, strategy="exact-screen", candidates=8, memory=1e-4)):
        pass
