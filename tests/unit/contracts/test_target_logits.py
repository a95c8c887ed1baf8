"""Processed logits after the nodes of a tree: with each node's own history, where somebody looks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.generation.logits_process import NoRepeatNGramLogitsProcessor

from specframe.contracts.sampling import SamplingParams
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree
from specframe.errors import SpecframeError
from specframe.request.processors import LogitsProcessing, logits_processors

VOCAB_SIZE = 12
PROMPT = torch.tensor([3, 4, 5, 3])


def branching_tree() -> DraftTree:
    """Root 3; children 7 and 8; below 7 the tokens 8 and 9, below 8 the token 7, below that 9."""
    parents = [-1, 0, 0, 1, 1, 2, 5]
    depths = [0, 1, 1, 2, 2, 2, 3]
    tokens = torch.tensor([3, 7, 8, 8, 9, 7, 9])
    return DraftTree(tokens, torch.tensor(parents), torch.tensor(depths), torch.zeros(7))


HISTORIES = [[3, 4, 5, 3], *([3, 4, 5, 3, *path] for path in ([7], [8], [7, 8], [7, 9], [8, 7], [8, 7, 9]))]


def raw_logits(rows: int = 7) -> Tensor:
    return torch.randn(rows, VOCAB_SIZE, generator=torch.Generator().manual_seed(0))


class Recording(LogitsProcessor):
    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.seen += input_ids.tolist()
        return scores


@pytest.mark.parametrize(
    "processor", [RepetitionPenaltyLogitsProcessor(1.7), NoRepeatNGramLogitsProcessor(2)]
)
def test_every_node_is_processed_with_the_context_and_its_own_path(processor: LogitsProcessor) -> None:
    raw = raw_logits()
    processing = LogitsProcessing(LogitsProcessorList([processor]), PROMPT, 20)
    rows = processing.after(branching_tree(), raw).rows(range(7))
    for node, history in enumerate(HISTORIES):
        expected = processor(torch.tensor([history]), raw[node : node + 1].clone())
        assert torch.equal(rows[node], expected[0]), f"node {node}"


def test_what_was_emitted_becomes_context() -> None:
    recording = Recording()
    processing = LogitsProcessing(LogitsProcessorList([recording]), PROMPT, 20)
    processing.extend((9, 1))
    processing.extend((2,))
    processing.after(DraftTree.root_only(2), raw_logits(1)).rows([0])
    assert recording.seen == [[3, 4, 5, 3, 9, 1, 2]]


def test_nodes_that_nobody_looks_at_are_not_processed() -> None:
    recording = Recording()
    target = LogitsProcessing(LogitsProcessorList([recording]), PROMPT, 20).after(
        branching_tree(), raw_logits()
    )
    target.probabilities(0)
    target.probabilities(5)
    target.probabilities(5)
    assert recording.seen == [HISTORIES[0], HISTORIES[5]]


def test_processors_that_look_at_scores_alone_keep_no_history() -> None:
    sampling = SamplingParams(temperature=0.5, top_p=0.9, top_k=5, min_p=0.1)
    processing = LogitsProcessing(logits_processors(sampling), PROMPT, 20)
    assert processing._ids is None


def test_the_order_is_that_of_transformers() -> None:
    sampling = SamplingParams(temperature=0.5, top_p=0.9, top_k=5, min_p=0.1, repetition_penalty=1.2)
    names = [type(p).__name__ for p in logits_processors(sampling, LogitsProcessorList([Recording()]))]
    assert names == [
        "RepetitionPenaltyLogitsProcessor", "Recording", "TemperatureLogitsWarper", "TopKLogitsWarper",
        "NucleusWarper", "MinPLogitsWarper",
    ]  # fmt: skip


def test_neutral_parameters_process_nothing() -> None:
    assert logits_processors(SamplingParams()) == []
    assert logits_processors(SamplingParams(temperature=1.0)) == []


def test_the_logits_of_the_target_stay_as_they_were() -> None:
    raw = raw_logits()
    given = raw.clone()
    processors = logits_processors(SamplingParams(temperature=0.5, top_p=0.5, repetition_penalty=2.0))
    LogitsProcessing(processors, PROMPT, 20).after(branching_tree(), given).rows(range(7))
    assert torch.equal(raw, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_float32_copies(dtype: torch.dtype) -> None:
    raw = raw_logits().to(dtype)
    rows = TargetLogits(raw, branching_tree()).rows([2, 4])
    assert rows.dtype == torch.float32
    rows.zero_()
    assert raw.abs().min() > 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_logits_that_make_no_distribution_are_an_error_that_names_the_token(bad: float) -> None:
    raw = raw_logits()
    raw[4, 6] = bad
    target = TargetLogits(raw, branching_tree())
    target.probabilities(1)
    with pytest.raises(SpecframeError, match="NaN or infinite after token 9"):
        target.probabilities(4)


class Odd(LogitsProcessor):
    """Returns what it is told to, or raises it."""

    def __init__(self, what: object) -> None:
        self._what = what

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if isinstance(self._what, Exception):
            raise self._what
        return self._what  # type: ignore[return-value]  # which is the point


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        (ValueError("no"), "a logits processor raised ValueError: no"),
        (None, r"a logits processor returned NoneType; allowed: scores \[1, 12\]"),
        (torch.zeros(1, 3), r"a logits processor returned \[1, 3\]; allowed: scores \[1, 12\]"),
    ],
)
def test_a_processor_that_fails_is_no_component_s_fault(what: object, complaint: str) -> None:
    target = TargetLogits(raw_logits(), branching_tree(), LogitsProcessorList([Odd(what)]), PROMPT)
    with pytest.raises(SpecframeError, match=f"^{complaint}$"):
        target.rows([1])
