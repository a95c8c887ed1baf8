"""Gemma 3: embeddings that the target scales, sliding windows, one matrix for embedding and LM head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from engines import Outcome, answer, engine
from prompts import random_prompts
from tiny_gemma import HIDDEN, WINDOW, save_gemma, save_head

from specframe import RunConfig, build_engine
from specframe.cli.exporting import export_head

CHAIN, TOKENS = 3, 40
# Texts and most prompts are longer than the window of the sliding layers.
PROMPTS = random_prompts(lengths=(WINDOW // 4, 2 * WINDOW, WINDOW + 1, 6 * WINDOW))
NANOSPEC = {"strategy": "nanospec", "capacity": 256}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gemma(tmp_path_factory.mktemp("models") / "gemma")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_head(tmp_path_factory.mktemp("models") / "head")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, target: Path, head: Path) -> Path:
    folder = tmp_path_factory.mktemp("export") / "head"
    export_head(str(head), folder, str(target))
    return folder


def answered(target: Path, exported: Path | None, settings: dict[str, Any] | None = None) -> Outcome:
    arguments: dict[str, Any] = {}
    if exported is not None:
        arguments["speculative_config"] = {
            "method": "eagle",
            "model": str(exported),
            "num_speculative_tokens": CHAIN,
        }
    if settings is not None:
        arguments["additional_config"] = {"specframe": settings}
    with engine(target, **arguments) as llm:
        return answer(llm, PROMPTS, TOKENS, batch=1)


@pytest.fixture(scope="module")
def undrafted(target: Path) -> Sequence[Sequence[int]]:
    return answered(target, None).token_ids


def passes_in_specframe(target: Path, head: Path, strategy: str, **options: Any) -> int:
    """How many passes over drafts specframe's engine takes, with chains of the same length."""
    drafter = {"checkpoint": head, "depth": CHAIN, "branching": 1, "nodes": CHAIN + 1, "lookup": 0}
    config = RunConfig(
        model=str(target),
        dtype="float32",
        strategy=strategy,
        costs="off",
        options={"drafter": drafter, "vocabulary": options},
    )
    made = build_engine(config)
    prompts = [prompt["prompt_token_ids"] for prompt in PROMPTS]
    return sum(made.generate(ids, TOKENS, ignore_eos=True).target_passes for ids in prompts)


def test_the_exported_head_scales_embeddings_as_its_target_does(exported: Path) -> None:
    config = json.loads((exported / "config.json").read_text(encoding="utf-8"))
    assert config["embedding_scale"] == pytest.approx(HIDDEN**0.5)


def test_the_full_vocabulary_drafts_as_specframe_does(
    target: Path, head: Path, exported: Path, undrafted: Sequence[Sequence[int]]
) -> None:
    found = answered(target, exported)
    assert found.token_ids == undrafted
    assert found.drafts == passes_in_specframe(target, head, "full")
    assert found.accepted > 0.5 * found.drafts


def test_nanospec_drafts_as_specframe_does(
    target: Path, head: Path, exported: Path, undrafted: Sequence[Sequence[int]]
) -> None:
    found = answered(target, exported, NANOSPEC | {"sets": "per_request"})
    assert found.token_ids == undrafted
    assert found.drafts == passes_in_specframe(target, head, "nanospec", capacity=256)
    assert found.head_calls > 0
