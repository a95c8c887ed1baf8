from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.tree import DraftTree, Verdict
from specframe_vllm.strategies import BatchedStrategy, ReadPrompt, StrategyPerRequest, TargetPasses, ids_of

NOTHING = torch.empty(0, dtype=torch.int64)


class Noting(VocabularyBuilder):
    """Admits nothing, and remembers what it was told."""

    capacity = 8
    pinned_ids = NOTHING

    def __init__(self) -> None:
        self.told: list[object] = []

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        self.told.append(prompt_ids.tolist())
        return prompt_ids

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        topk = None if target_topk_ids is None else target_topk_ids.tolist()
        self.told.append((verdict, tree.token_ids.tolist(), tree.parents.tolist(), topk))
        return tree.token_ids[:1]


class Batched(Noting):
    takes_batches = True

    def observe_batch(self, node_ids: Tensor, emitted_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        self.told.append((node_ids.tolist(), emitted_ids.tolist()))
        return torch.cat([node_ids, emitted_ids])


def prompt(request: str, *ids: int) -> ReadPrompt:
    return ReadPrompt(
        request=request, prompt_ids=torch.tensor(ids), topk_ids=None, emitted_ids=torch.tensor([7, -1])
    )


PASSES = TargetPasses(
    requests=["a", "b"],
    nodes=[3, 2],
    node_ids=torch.tensor([10, 11, 12, 20, 21]),
    emitted_ids=torch.tensor([[11, 50, -1], [21, 60, -1]]),
    topk_ids=torch.tensor([[1], [2], [3], [4], [5]]),
)


def test_a_verdict_says_what_a_chain_was_worth() -> None:
    noting = Noting()
    strategies = StrategyPerRequest(lambda: noting)
    strategies.start(prompt("a", 1))
    alone = TargetPasses(
        requests=["a"],
        nodes=[3],
        node_ids=torch.tensor([10, 11, 12]),
        emitted_ids=torch.tensor([[11, 50, -1]]),
        topk_ids=torch.tensor([[1], [2], [3]]),
    )
    strategies.observe(alone)
    verdict = Verdict(path=(0, 1), accepted_ids=(11,), next_token=50, path_ends_at_leaf=False)
    assert noting.told[1] == (verdict, [10, 11, 12], [-1, 0, 1], [[1], [2], [3]])


def test_a_chain_that_was_accepted_ends_at_a_leaf() -> None:
    noting = Noting()
    strategies = StrategyPerRequest(lambda: noting)
    for request in ("a", "b"):
        strategies.start(prompt(request, 1))
    strategies.observe(PASSES)
    verdicts = [told[0] for told in noting.told if isinstance(told, tuple)]
    assert [verdict.path_ends_at_leaf for verdict in verdicts] == [False, True]


def test_every_request_has_an_object_of_its_own() -> None:
    made: list[Noting] = []

    def make() -> Noting:
        made.append(Noting())
        return made[-1]

    strategies = StrategyPerRequest(make)
    for request in ("a", "b"):
        strategies.start(prompt(request, 1))
    strategies.observe(PASSES)
    assert [len(one.told) for one in made] == [2, 2]


def test_an_object_serves_later_requests_too() -> None:
    made: list[Noting] = []

    def make() -> Noting:
        made.append(Noting())
        return made[-1]

    strategies = StrategyPerRequest(make)
    for number in range(20):
        strategies.start(prompt(str(number), 1))
        strategies.end(str(number))
    assert len(made) == 1


def test_a_batch_is_told_at_once() -> None:
    batched = Batched()
    ids = BatchedStrategy(batched).observe_together(PASSES)
    assert batched.told == [([10, 11, 12, 20, 21], [11, 50, -1, 21, 60, -1])]
    assert ids.tolist() == [10, 11, 12, 20, 21, 11, 50, -1, 21, 60, -1]


def test_a_batch_is_told_request_by_request_where_each_has_a_set() -> None:
    ids = BatchedStrategy(Batched()).observe(PASSES)
    assert [part.tolist() for part in ids] == [[10, 11, 12, 11, 50, -1], [20, 21, 21, 60, -1]]


def test_a_batched_strategy_learns_a_requests_first_token() -> None:
    assert BatchedStrategy(Batched()).start(prompt("a", 1, 2)).tolist() == [1, 2, 7, -1]


def test_a_pass_that_emitted_nothing_is_no_verdict() -> None:
    noting = Noting()
    strategies = StrategyPerRequest(lambda: noting)
    strategies.start(prompt("a", 1))
    nothing = TargetPasses(
        requests=["a"],
        nodes=[1],
        node_ids=torch.tensor([10]),
        emitted_ids=torch.tensor([[-1, -1]]),
        topk_ids=None,
    )
    assert strategies.observe_together(nothing).tolist() == []
    assert noting.told == [[1]]


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (None, "it returned NoneType"),
        (torch.tensor([0.5]), r"it returned a tensor of torch\.float32 of shape \[1\]"),
        (torch.tensor([[1]]), r"it returned a tensor of torch\.int64 of shape \[1, 1\]"),
        (torch.empty(1, dtype=torch.int64, device="meta"), "it returned token ids on meta"),
    ],
    ids=["nothing", "floats", "a matrix", "another device"],
)
def test_what_is_no_ids_is_refused(returned: object, found: str) -> None:
    with pytest.raises(TypeError, match=f"{found}; allowed: a tensor of token ids .n. int64 on cpu"):
        ids_of(returned, NOTHING)


def test_ids_of_32_bits_are_ids_too() -> None:
    assert ids_of(torch.tensor([3], dtype=torch.int32), NOTHING).dtype == torch.int64
