"""A strategy that fails ends learning, with one line that says whose it is; drafts go on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import drafting_in, engine
from prompts import random_prompts
from specframe_lexicon.strategy import LexiconVocabulary
from tiny_checkpoints import VOCAB_SIZE
from torch import Tensor
from vllm import SamplingParams

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import VocabularyBuilder
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.gathers.torch import TorchGather
from specframe_vllm.active_head import ActiveHead
from specframe_vllm.active_sets import SharedSet
from specframe_vllm.draft_rows import DraftRows
from specframe_vllm.drafting import ActiveDrafting
from specframe_vllm.strategies import BatchedStrategy, ReadPrompt, StrategyPerRequest, TargetPasses

HEAD = OutputHead(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))
IDS = torch.tensor([5, 9])


def fails() -> Tensor:
    raise RuntimeError("no idea\nwhat that was")


WRONG: dict[str, Callable[[], Any]] = {
    "raises": fails,
    "nothing": lambda: None,
    "floats": lambda: torch.tensor([0.5]),
    "beyond the vocabulary": lambda: torch.tensor([64]),
    "below zero": lambda: torch.tensor([-2]),
    "another device": lambda: torch.empty(1, dtype=torch.int64, device="meta"),
}


class Strange(VocabularyBuilder):
    """Does what it should, but for one of its methods."""

    capacity = 16
    pinned_ids = torch.tensor([0])

    def __init__(self, method: str, wrong: Callable[[], Any]) -> None:
        self._method, self._wrong = method, wrong

    def _ids(self, method: str) -> Any:
        return self._wrong() if method == self._method else IDS

    def start(self, *_: object) -> Any:
        return self._ids("start")

    def observe(self, *_: object) -> Any:
        return self._ids("observe")

    def observe_batch(self, *_: object) -> Any:
        return self._ids("observe_batch")


def drafting(method: str, wrong: Callable[[], Any]) -> ActiveDrafting:
    strange = Strange(method, wrong)
    store = VocabularyStore(HEAD, TorchGather(), capacity=16, pinned_ids=strange.pinned_ids)
    rows = DraftRows(head=HEAD, ranks=1, rows_per_rank=64, total=64, token_ids=None)
    sets = SharedSet(store)
    together = StrategyPerRequest(lambda: strange) if method == "observe" else BatchedStrategy(strange)
    device = torch.device("cpu")
    name, window = "strategy 'odd' of oddities", strange.prompt_window
    return ActiveDrafting(ActiveHead(rows, sets), sets, together, strange, name, device, window, None)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("method", ["start", "observe", "observe_batch"])
def test_drafts_go_on_and_one_line_says_whose_strategy_failed(
    logged: list[logging.LogRecord], method: str, wrong: str
) -> None:
    made = drafting(method, WRONG[wrong])
    prompt = ReadPrompt(request="a", prompt_ids=IDS, topk_ids=None, emitted_ids=torch.tensor([7, -1]))
    passes = TargetPasses(
        requests=["a"],
        nodes=[2],
        node_ids=torch.tensor([7, 9]),
        emitted_ids=torch.tensor([[9, 5]]),
        topk_ids=None,
    )
    made.learn(["a"], [prompt], None)
    for _ in range(2):
        made.learn(["a"], [], passes)
    [line] = [record.getMessage() for record in logged]
    assert "strategy 'odd' of oddities failed: " in line
    assert line.endswith("; the strategy is asked no more")
    assert "\n" not in line
    assert made.head.get_top_tokens(torch.randn(1, 8)).shape == (1,)


def test_an_engine_goes_on_without_a_strategy_of_another_package(
    tiny: Path, logged: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(tiny) as llm:
        sampling = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
        undrafted = [o.outputs[0].token_ids for o in llm.generate(random_prompts(), sampling, use_tqdm=False)]
    monkeypatch.setattr(LexiconVocabulary, "observe", lambda *_: torch.tensor([VOCAB_SIZE]))
    with engine(
        tiny,
        speculative_config={"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3},
        additional_config={"specframe": {"strategy": "lexicon", "capacity": 512}},
    ) as llm:
        found = [o.outputs[0].token_ids for o in llm.generate(random_prompts(), sampling, use_tqdm=False)]
        made = drafting_in(llm)
    assert made is not None
    assert f"token id {VOCAB_SIZE}" in str(made.failure)
    assert found == undrafted
    [line] = [record.getMessage() for record in logged if record.levelno == logging.ERROR]
    assert "strategy 'lexicon' " in line
    assert "specframe-lexicon" in line
