"""SmolLM2 and Gemma 3 draft for each other, in float32: what comes out is what transformers generates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seven_prompts import SEVEN_PROMPTS
from tiny_models import reference_greedy

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.model.loading import LoadedModel, load_pretrained
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt

pytestmark = pytest.mark.numbers

NEW_TOKENS = 16
MODELS = ("smollm2-135m", "gemma3-270m")
KINDS: list[tuple[str, dict[str, Any]]] = [("nanospec", {}), ("full", {"tokens": "strings", "depth": 4})]


@pytest.fixture(scope="module")
def loaded(smollm2: Target) -> dict[str, LoadedModel]:
    """Both models, since loading them takes longer than all that they generate here."""
    gemma = load_pretrained("gemma3-270m", torch.float32)
    return {
        "smollm2-135m": LoadedModel(smollm2.model, smollm2.tokenizer, smollm2.name),
        "gemma3-270m": gemma,
    }


@pytest.mark.parametrize(("name", "draft_model"), [MODELS, MODELS[::-1]])
def test_the_output_is_the_targets(
    name: str, draft_model: str, loaded: dict[str, LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "specframe_plugins.drafters.draft_model.loading.load_pretrained", lambda spec, *_: loaded[spec]
    )
    target = Target(loaded[name])
    prompt_ids = encode_prompt(target.tokenizer, SEVEN_PROMPTS["qa"])
    expected = reference_greedy(target.model, prompt_ids, NEW_TOKENS)
    for strategy, drafter in KINDS:
        options = {"drafter": {"model": draft_model, "lookup": 0, **drafter}}
        config = RunConfig(
            strategy=strategy, drafter="draft-model", dtype="float32", costs="off", options=options
        )
        report = build_engine(config, target=target).generate(prompt_ids, NEW_TOKENS)
        assert report.token_ids == expected, drafter
        assert report.tau > 1.3, "drafts hardly ever hit: this test would not see a wrong cache"
