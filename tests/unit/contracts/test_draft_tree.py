from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from specframe.contracts.tree import DraftTree, Verdict


@st.composite
def parent_lists(draw: st.DrawFn) -> list[int]:
    size = draw(st.integers(1, 40))
    return [-1, *(draw(st.integers(0, node - 1)) for node in range(1, size))]


def tree_of(parents: list[int]) -> DraftTree:
    depths = [0]
    for parent in parents[1:]:
        depths.append(depths[parent] + 1)
    n = len(parents)
    return DraftTree(torch.arange(n), torch.tensor(parents), torch.tensor(depths), torch.zeros(n))


@given(parent_lists())
def test_the_mask_of_a_node_is_itself_and_its_ancestors(parents: list[int]) -> None:
    mask = tree_of(parents).ancestor_mask()
    for node in range(len(parents)):
        ancestors, at = set(), node
        while at >= 0:
            ancestors.add(at)
            at = parents[at]
        assert set(mask[node].nonzero().flatten().tolist()) == ancestors


def test_the_mask_of_a_long_chain_is_causal() -> None:
    parents = list(range(-1, 60))
    assert torch.equal(tree_of(parents).ancestor_mask(), torch.ones(61, 61).tril().bool())


def test_a_root_only_tree_drafts_nothing() -> None:
    tree = DraftTree.root_only(7)
    assert (len(tree), tree.token_ids.tolist(), tree.parents.tolist()) == (1, [7], [-1])


def test_a_verdict_emits_the_accepted_tokens_and_then_the_next_one() -> None:
    verdict = Verdict(path=(0, 2), accepted_ids=(5,), next_token=9, path_ends_at_leaf=True)
    assert verdict.emitted_ids == (5, 9)
