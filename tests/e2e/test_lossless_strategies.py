"""SmolLM2 in float32 under every other strategy: what transformers' greedy generate emits, id by id.

One prompt each; `benchmarks/results/*-lossless.txt` has more of both models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from seven_prompts import SEVEN_PROMPTS

from specframe.config import RunConfig
from specframe.engine import draft_states
from specframe.engine.assembly import build_engine
from specframe.model.loading import CACHE_VARIABLE, cache_directory
from specframe.model.target import Target
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import built_in_tasks

pytestmark = pytest.mark.numbers

NEW_TOKENS = 48
STRATEGIES: dict[str, dict[str, Any]] = {
    "lowrank": {},
    "clusters": {},
    "nanospec+lowrank": {},
    "retrieval": {},
    "static": {"size": "auto"},
}


@pytest.fixture(scope="module", autouse=True)
def _short_states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Screens are fitted to drafts of a few tokens of one task, which takes a second."""
    models, folder = cache_directory() / "models", tmp_path_factory.mktemp("cache")
    (folder / "models").symlink_to(models, target_is_directory=True)
    code = [task for task in built_in_tasks() if task.task == "code"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        patch.setattr(draft_states, "built_in_tasks", lambda: code[:5])
        patch.setattr(draft_states, "_NEW_TOKENS", 12)
        yield


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_output_is_the_targets(
    strategy: str, smollm2: Target, smollm2_greedy: Callable[[torch.Tensor, int], list[int]]
) -> None:
    options = {"vocabulary": STRATEGIES[strategy]}
    engine = build_engine(RunConfig(strategy=strategy, dtype="float32", options=options), target=smollm2)
    prompt_ids = encode_prompt(smollm2.tokenizer, SEVEN_PROMPTS["code"])
    report = engine.generate(prompt_ids, NEW_TOKENS)
    assert report.token_ids == smollm2_greedy(prompt_ids, NEW_TOKENS)
    assert report.tau > 1.1, "the drafter hardly ever hits: this test would not see a wrong commit"
