"""SmolLM2 with the head that ships: the texts and the target passes of specframe's own engine."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs
import pytest
from engines import Outcome, answer, engine
from scripted import scripted

from specframe import RunConfig, build_engine
from specframe.cli.exporting import export_head
from specframe.model.loading import source_of
from specframe_vllm.hooks import v1

MODEL, CHAIN, TOKENS = "smollm2-135m", 3, 48
PROMPTS = (
    "The capital of Norway is",
    "Write a Python function that reverses a list.",
    "List three fruits and say what each tastes like.",
    "A ticket costs 4 dollars. How much do 12 tickets cost? Show your steps.",
    "Write a short story about a lighthouse that learns to sing.",
)
NANOSPEC = {"strategy": "nanospec", "capacity": 3072, "prompt_window": 32}
STATIC = {"strategy": "static", "size": "512"}


@attrs.frozen
class Expected:
    """What specframe's engine says.

    Attributes:
        token_ids: of each prompt's answer.
        passes: over drafts that it took for all of them.
    """

    token_ids: list[list[int]]
    passes: int


def in_specframe(strategy: str, **options: Any) -> Expected:
    """Answer the prompts with specframe's engine and chains of the same length."""
    drafter = {"depth": CHAIN, "branching": 1, "nodes": CHAIN + 1, "lookup": 0}
    config = RunConfig(
        model=MODEL,
        dtype="float32",
        strategy=strategy,
        costs="off",
        options={"drafter": drafter, "vocabulary": options},
    )
    made = build_engine(config)
    reports = [made.generate(prompt, TOKENS, ignore_eos=True) for prompt in PROMPTS]
    return Expected(
        [list(report.token_ids) for report in reports], sum(report.target_passes for report in reports)
    )


@pytest.fixture(scope="module")
def nanospec() -> Expected:
    return in_specframe("nanospec", capacity=3072)


@pytest.fixture(scope="module")
def static() -> Expected:
    return in_specframe("static", size="512")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "head"
    export_head(MODEL, folder, None)
    return folder


def in_vllm(head: Path, batch: int, settings: dict[str, Any], *script: bool) -> Outcome:
    """Answer the prompts with vLLM, so many at once; a script says which steps are drafted."""
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    with engine(
        Path(source_of(MODEL)),
        speculative_config={"method": "eagle", "model": str(head), "num_speculative_tokens": CHAIN},
        additional_config={"specframe": settings},
    ) as llm:
        if script:
            scripted(llm, *script)
        return answer(llm, chats, TOKENS, batch)


def test_a_set_for_each_request_drafts_as_specframe_does(head: Path, nanospec: Expected) -> None:
    found = in_vllm(head, 1, NANOSPEC | {"sets": "per_request"})
    assert found.token_ids == nanospec.token_ids
    assert found.drafts == nanospec.passes


def test_static_drafts_as_specframe_does(head: Path, static: Expected) -> None:
    found = in_vllm(head, 1, STATIC)
    assert found.token_ids == static.token_ids
    assert found.drafts == static.passes


def test_undrafted_steps_leave_no_holes_in_the_cache_of_the_head(
    head: Path, static: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, script = STATIC | {"drafts": "auto"}, (*[False] * 20, *[True] * 100)
    found = in_vllm(head, len(PROMPTS), settings, *script)
    monkeypatch.setattr(v1, "filling_only", lambda _: nullcontext())  # the whole head runs in every step
    whole = in_vllm(head, len(PROMPTS), settings, *script)
    assert found.token_ids == whole.token_ids == static.token_ids
    assert found.drafts < 0.7 * static.passes
    assert (found.drafts, found.accepted) == (whole.drafts, whole.accepted)


def test_a_shared_set_serves_a_batch(head: Path, nanospec: Expected) -> None:
    found = in_vllm(head, 4, NANOSPEC)
    assert found.token_ids == nanospec.token_ids
    assert found.figures is not None
    assert found.figures.covered > 0.9 * found.figures.emitted
    # What one request admits, another one has too; it costs none of them.
    assert found.drafts <= 1.02 * nanospec.passes
