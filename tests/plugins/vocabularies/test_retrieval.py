"""`retrieval`: what the text's tokens bring with them, besides what `nanospec` admits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import VOCAB_SIZE, tiny_target
from torch import Tensor

from specframe.contracts.options import build_options
from specframe.contracts.tree import DraftTree, Verdict
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.registry.components import BuildContext
from specframe.testing import check_vocabulary_builder
from specframe_plugins.vocabularies.components import nanospec
from specframe_plugins.vocabularies.components.retrieval import COMPONENT
from specframe_plugins.vocabularies.retrieval.neighbours import Neighbours
from specframe_plugins.vocabularies.retrieval.successors import Successors

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


def build(target: Target, component: Any = COMPONENT, **options: Any) -> Any:
    context = BuildContext(target=target, required_ids=torch.tensor([0, 1, 2]))
    return component.factory(build_options(component.options, options, "vocabulary"), context)


def one_step() -> tuple[Verdict, DraftTree, Tensor]:
    """Return a step in which node 2 was accepted: its verdict, its tree and the target's top ids."""
    tree = DraftTree(
        torch.tensor([10, 11, 12]), torch.tensor([-1, 0, 0]), torch.tensor([0, 1, 1]), torch.zeros(3)
    )
    verdict = Verdict(path=(0, 2), accepted_ids=(12,), next_token=50, path_ends_at_leaf=True)
    return verdict, tree, torch.tensor([[12, 31, 13], [32, 33, 34], [50, 35, 36]])


PROMPT, PROMPT_TOPK = torch.tensor([5, 6, 5]), torch.tensor([[20, 21, 22], [22, 20, 23], [10, 24, 25]])


def twins() -> Tensor:
    """Rows of 40 tokens, of which 2 i and 2 i + 1 are nearly the same."""
    rows = torch.randn(20, 16, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, dim=0)
    return rows + 0.01 * torch.randn(40, 16, generator=torch.Generator().manual_seed(1))


def test_the_nearest_token_is_the_one_with_nearly_the_same_row() -> None:
    near = Neighbours(twins().__getitem__, 40, 1, CPU)
    assert near.of(torch.tensor([4, 5, 30])).tolist() == [5, 4, 31]


def test_what_all_rows_have_in_common_makes_none_of_them_near() -> None:
    near = Neighbours((twins() + 50).__getitem__, 40, 1, CPU)
    assert near.of(torch.tensor([4, 5, 30])).tolist() == [5, 4, 31]


def test_equal_rows_are_neighbours_and_a_token_never_is_its_own() -> None:
    near = Neighbours(torch.eye(3).repeat(4, 1).__getitem__, 12, 3, CPU)
    found = near.of(torch.arange(12)).view(12, 3)
    assert ((found % 3) == (torch.arange(12) % 3)[:, None]).all()
    assert (found != torch.arange(12)[:, None]).all()


@given(ids=st.lists(st.integers(0, 39), unique=True, max_size=40))
def test_neighbours_do_not_depend_on_what_they_are_asked_with(ids: list[int]) -> None:
    together, alone = (Neighbours(twins().__getitem__, 40, 2, CPU) for _ in range(2))
    singly = [alone.of(torch.tensor([token])).tolist() for token in ids]
    assert together.of(torch.tensor(ids, dtype=torch.int64)).view(-1, 2).tolist() == singly


def test_successors_are_the_last_ones_and_the_latest_comes_last() -> None:
    successors = Successors(2)
    successors.learn_text([1, 2, 1, 3, 1, 4])
    assert successors.of([1, 9, 3]) == [3, 4, 1]


def test_of_several_tokens_that_may_follow_the_first_is_the_last_to_be_lost() -> None:
    successors = Successors(2)
    successors.learn(1, [7, 8, 9])
    assert successors.of([1]) == [8, 7]


def test_nothing_is_retrieved_where_nothing_is_asked_for(target: Target) -> None:
    plain, other = build(target, nanospec.COMPONENT), build(target, neighbours=0, successors=0)
    assert torch.equal(plain.start(PROMPT, PROMPT_TOPK), other.start(PROMPT, PROMPT_TOPK))
    assert torch.equal(plain.observe(*one_step()), other.observe(*one_step()))


def test_more_neighbours_than_a_table_should_hold_are_refused(target: Target) -> None:
    with pytest.raises(UsageError, match=r"'60000'; allowed: integer >= 0 <= 256"):
        build(target, neighbours="60000")


def test_the_neighbours_of_the_prompt_come_before_the_prompt(target: Target) -> None:
    plain, builder = build(target, nanospec.COMPONENT), build(target, neighbours=2)
    near = Neighbours(target.embed_tokens, VOCAB_SIZE, 2, CPU).of(torch.tensor([5, 6]))
    assert builder.start(PROMPT, PROMPT_TOPK).tolist() == [*near, *plain.start(PROMPT, PROMPT_TOPK)]


def test_emitted_tokens_bring_their_neighbours(target: Target) -> None:
    near = Neighbours(target.embed_tokens, VOCAB_SIZE, 2, CPU).of(torch.tensor([12, 50]))
    assert build(target, neighbours=2).observe(*one_step()).tolist()[:4] == near.tolist()


def test_what_followed_a_token_comes_back_with_it(target: Target) -> None:
    builder = build(target, neighbours=0, successors=4)
    builder.start(torch.tensor([50, 77, 12]), None)
    assert builder.observe(*one_step()).tolist()[:4] == [36, 35, 50, 77]


def test_nothing_of_an_earlier_request_follows(target: Target) -> None:
    builder = build(target, neighbours=0, successors=4)
    builder.start(torch.tensor([50, 77]), None)
    builder.start(torch.tensor([3]), None)
    assert 77 not in builder.observe(*one_step()).tolist()


@pytest.mark.parametrize(
    "options", [{"neighbours": "3"}, {"neighbours": "0", "successors": "4"}, {"successors": "2"}], ids=str
)
def test_retrieval_keeps_its_promises(target: Target, options: dict[str, str]) -> None:
    check_vocabulary_builder(build(target, **options), VOCAB_SIZE)
