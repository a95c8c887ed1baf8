"""A path that is put into a draft tree is in it afterwards, and nothing else has changed."""

from __future__ import annotations

import math

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specframe.contracts.tree import DraftTree
from specframe_plugins.sources.growth import Sprout, graft

ROOT = 9
Paths = dict[tuple[int, ...], float]

# Few tokens, so that trees and paths often agree for a while.
TOKENS = st.integers(0, 2)


@st.composite
def trees(draw: st.DrawFn) -> DraftTree:
    """Return a tree, padded or not, whose siblings differ; every log-probability tells its node."""
    tokens, parents, depths = [ROOT], [-1], [0]
    for parent, token in draw(st.lists(st.tuples(st.integers(0, 12), TOKENS), max_size=12)):
        parent %= len(tokens)
        if (parent, token) not in zip(parents, tokens, strict=True):
            tokens.append(token)
            parents.append(parent)
            depths.append(depths[parent] + 1)
    log_probs = [-node / 16 for node in range(len(tokens))]
    copies = draw(st.integers(0, 3))
    return DraftTree(
        torch.tensor(tokens + copies * [ROOT]),
        torch.tensor(parents + copies * [-1]),
        torch.tensor(depths + copies * [0]),
        torch.tensor(log_probs + copies * [0.0]),
    )


def without_copies(tree: DraftTree) -> DraftTree:
    real = tree.parents >= 0
    real[0] = True
    return attrs.evolve(
        tree, **{name: getattr(tree, name)[real] for name in ("token_ids", "parents", "depths", "log_probs")}
    )


def paths_of(tree: DraftTree) -> Paths:
    """Return the log-probability of every node, by the tokens that lead to it.

    It sees that the nodes are in topological order, at their depths, and no two of them the same.
    """
    tokens, log_probs = tree.token_ids.tolist(), tree.log_probs.tolist()
    assert (tokens[0], int(tree.parents[0]), int(tree.depths[0]), log_probs[0]) == (ROOT, -1, 0, 0.0)
    paths: list[tuple[int, ...]] = [()]
    for node, parent in enumerate(tree.parents.tolist()[1:], start=1):
        assert 0 <= parent < node
        paths.append((*paths[parent], tokens[node]))
    assert list(map(len, paths)) == tree.depths.tolist()
    assert len(set(paths)) == len(paths), "two children of one node have the same token"
    return dict(zip(paths, log_probs, strict=True))


def chain(path: list[int]) -> list[Sprout]:
    """Return the sprouts of a path; the first of them has a log-probability of -10, and so on."""
    return [
        Sprout(token_id, level - 1, tuple(path[: level + 1]), math.exp(-10.0 - level), 0.5, (), "s")
        for level, token_id in enumerate(path)
    ]


def grafted(tree: DraftTree, path: list[int]) -> DraftTree:
    return graft(tree, chain(path))


@given(tree=trees(), path=st.lists(TOKENS, max_size=8))
def test_the_tree_has_its_old_nodes_and_what_was_missing_of_the_path(
    tree: DraftTree, path: list[int]
) -> None:
    on_path = {tuple(path[: level + 1]): -10.0 - level for level in range(len(path))}
    assert paths_of(grafted(tree, path)) == pytest.approx(on_path | paths_of(without_copies(tree)))


@given(tree=trees(), path=st.lists(TOKENS, max_size=8))
def test_old_nodes_keep_their_places(tree: DraftTree, path: list[int]) -> None:
    old, new = without_copies(tree), grafted(tree, path)
    for name in ("token_ids", "parents", "depths", "log_probs"):
        assert torch.equal(getattr(new, name)[: len(old)], getattr(old, name)), name


@given(tree=trees(), path=st.lists(TOKENS, max_size=8))
def test_the_types_are_those_of_a_draft_tree(tree: DraftTree, path: list[int]) -> None:
    new = grafted(tree, path)
    assert new.token_ids.dtype == new.parents.dtype == new.depths.dtype == torch.int64
    assert new.log_probs.dtype == torch.float32


@given(tree=trees(), data=st.data())
def test_a_path_that_is_there_adds_nothing(tree: DraftTree, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(paths_of(without_copies(tree)))))
    assert len(grafted(tree, [*path])) == len(without_copies(tree))


@pytest.mark.parametrize("path", [[], [5, 6]], ids=str)
def test_copies_of_the_root_are_left_out(path: list[int]) -> None:
    padded = DraftTree(
        torch.tensor([ROOT, 1, ROOT, ROOT]),
        torch.tensor([-1, 0, -1, -1]),
        torch.tensor([0, 1, 0, 0]),
        torch.tensor([0.0, -1.0, 0.0, 0.0]),
    )
    assert grafted(padded, path).token_ids.tolist() == [ROOT, 1, *path]


def test_a_path_below_the_root_alone_is_a_chain() -> None:
    tree = grafted(DraftTree.root_only(ROOT), [5, 6, 7])
    assert tree.token_ids.tolist() == [ROOT, 5, 6, 7]
    assert tree.parents.tolist() == [-1, 0, 1, 2]
    assert tree.log_probs.tolist() == pytest.approx([0.0, -10.0, -11.0, -12.0])


def test_what_was_added_names_its_source_and_nodes_of_before_keep_theirs() -> None:
    tree = grafted(DraftTree.root_only(ROOT), [5, 6])
    assert tree.sources == (None, "s", "s")
    again = graft(tree, [Sprout(7, -1, (7,), 0.5, 0.5, (), "t"), Sprout(5, -1, (5,), 0.5, 0.5, (), "t")])
    assert again.sources == (None, "s", "s", "t")
