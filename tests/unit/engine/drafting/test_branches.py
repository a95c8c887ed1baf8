"""The nodes of a tree on the host, and the trees of some of them."""

from __future__ import annotations

import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_machines import FLAT, IN_PROPORTION, SLOPED, paper_costs

from specframe.contracts.tree import DraftTree
from specframe.engine.drafting.branches import Branches
from specframe.engine.drafting.step_budget import StepBudget

unhurried = settings(deadline=None)


def tree_of(parents: list[int], log_probs: list[float]) -> DraftTree:
    depths: list[int] = []
    for node, parent in enumerate(parents):
        depths.append(depths[parent] + 1 if node and parent >= 0 else 0)
    return DraftTree(
        torch.arange(len(parents)) + 50, torch.tensor(parents), torch.tensor(depths), torch.tensor(log_probs)
    )


@st.composite
def trees(draw: st.DrawFn) -> DraftTree:
    """Any tree in topological order, copies of the root among its nodes or at its end."""
    parents, log_probs = [-1], [0.0]
    real = [0]
    for node in range(1, draw(st.integers(1, 14))):
        if draw(st.integers(0, 5)) == 0:
            parents.append(-1)
            log_probs.append(0.0)
            continue
        parents.append(draw(st.sampled_from(real)))
        log_probs.append(draw(st.sampled_from([0.0, -0.1, -0.7, -2.0, -9.0])))
        real.append(node)
    return tree_of(parents, log_probs)


BUDGETS = st.sampled_from([FLAT, SLOPED, IN_PROPORTION, {1: 20.0, 2: 24.0, 3: 40.0}]).map(
    lambda nodes: StepBudget(paper_costs(nodes), 32, 8)
)


@unhurried
@given(trees(), BUDGETS)
def test_what_is_kept_has_the_parent_of_every_node(tree: DraftTree, budget: StepBudget) -> None:
    kept = budget.keep(tree)
    parents, tokens = kept.parents.tolist(), kept.token_ids.tolist()
    assert tokens[0] == 50
    for node in range(1, len(kept)):
        if parents[node] == -1:
            continue
        origin = int(tree.parents[tokens[node] - 50])
        assert 0 <= parents[node] < node
        assert tokens[parents[node]] == 50 + origin


@unhurried
@given(trees(), BUDGETS)
def test_what_is_kept_of_a_node_is_all_of_it(tree: DraftTree, budget: StepBudget) -> None:
    kept = budget.keep(tree)
    origin = kept.token_ids - 50
    assert torch.equal(kept.depths, tree.depths[origin])
    assert torch.equal(kept.log_probs, tree.log_probs[origin])


@unhurried
@given(trees(), BUDGETS)
def test_no_node_is_kept_in_place_of_a_likelier_one(tree: DraftTree, budget: StepBudget) -> None:
    paths: list[float] = []
    for parent, log_prob in zip(tree.parents.tolist(), tree.log_probs.tolist(), strict=True):
        paths.append(log_prob + (paths[parent] if parent >= 0 else 0.0))
    nodes = {node for node in range(1, len(tree)) if tree.parents[node] >= 0}
    kept = nodes & {*(budget.keep(tree).token_ids - 50).tolist()}
    least = min((paths[node] for node in kept), default=0.0)
    assert all(paths[node] <= least + 1e-6 for node in nodes - kept)


def test_a_pass_that_costs_the_same_for_any_tree_keeps_all_of_it() -> None:
    budget = StepBudget(paper_costs({1: 20.0}), 32, 8)
    tree = tree_of([-1, 0, 0, 1, 3], [0.0, -0.1, -6.0, -0.5, -7.0])
    assert len(budget.keep(tree)) == 5


def test_where_every_node_costs_a_pass_none_is_kept() -> None:
    budget = StepBudget(paper_costs(IN_PROPORTION), 32, 8)
    assert len(budget.keep(tree_of([-1, 0, 1], [0.0, -0.3, -0.3]))) == 1


def test_copies_of_the_root_that_cost_are_dropped() -> None:
    budget = StepBudget(paper_costs({1: 20.0, 2: 20.1, 32: 40.0}), 32, 8)
    tree = tree_of([-1, 0, -1, 1, -1], [0.0, -0.1, 0.0, -0.1, 0.0])
    assert budget.keep(tree).parents.tolist() == [-1, 0, 1]


def test_a_tree_that_was_drawn_stays_whole() -> None:
    budget, tree = StepBudget(paper_costs(IN_PROPORTION), 32, 8), tree_of([-1, 0, 1], [0.0, -3.0, -3.0])
    drawn = DraftTree(tree.token_ids, tree.parents, tree.depths, tree.log_probs, sampled_from=object())  # type: ignore[arg-type]
    assert budget.keep(drawn) is drawn


@pytest.mark.parametrize(
    ("parents", "log_probs"),
    [
        ([-1, 2, 0], [0.0, -0.1, -0.1]),  # a parent after its child
        ([-1, 0, 7], [0.0, -0.1, -0.1]),  # no such parent
        ([-1, 0, -2], [0.0, -0.1, -0.1]),
        ([-1, 0, 2], [0.0, -0.1, -0.1]),  # its own parent
        ([-1, 0, 1], [0.0, 0.5, -0.1]),  # a probability above 1
        ([-1, 0, 1], [0.0, math.nan, -0.1]),
    ],
)
def test_what_is_no_tree_passes_through_to_the_check_that_says_so(
    parents: list[int], log_probs: list[float]
) -> None:
    nodes = torch.arange(3)
    tree = DraftTree(nodes, torch.tensor(parents), nodes, torch.tensor(log_probs))
    assert Branches.of(tree) is None
    assert StepBudget(paper_costs(), 32, 8).keep(tree) is tree


@unhurried
@given(trees(), BUDGETS)
def test_every_node_keeps_its_source(tree: DraftTree, budget: StepBudget) -> None:
    sources = tuple(str(token) for token in tree.token_ids.tolist())
    kept = budget.keep(attrs.evolve(tree, sources=sources))
    assert kept.sources == tuple(str(token) for token in kept.token_ids.tolist())
