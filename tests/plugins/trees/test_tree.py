"""The dynamic tree: valid whatever is drafted, and the best nodes by cumulative log-probability."""

from __future__ import annotations

import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from specframe.contracts.tree import DraftTree
from specframe_plugins.trees.shape import TreeShape
from specframe_plugins.trees.tree import DynamicTree

ROOT = 7
unhurried = settings(deadline=None)  # the first call into torch may take a second
# Few values, so that equal scores are common; 0 keeps a child at its parent's score.
LOG_PROBS = st.sampled_from([0.0, 1e-7, -0.25, -0.5, -1.0, -3.0, -math.inf])


def most_nodes(branching: int, depth: int) -> int:
    """Return how many nodes the levels can fill, the root included."""
    return 1 + branching + (depth - 1) * branching**2


def make_tree(branching: int, depth: int, nodes: int) -> DynamicTree:
    tree = DynamicTree(TreeShape(depth, branching, nodes), torch.device("cpu"))
    tree.begin(torch.tensor([ROOT]))
    return tree


def build(tree: DynamicTree) -> DraftTree:
    """Return the tree without the copies of the root at its end."""
    drafted = DraftTree(*tree.build())
    padding = [node for node in range(1, len(drafted)) if drafted.parents[node] == -1]
    nodes = len(drafted) - len(padding)
    assert padding == list(range(nodes, len(drafted)))
    for values in (drafted.token_ids, drafted.depths, drafted.log_probs):
        assert (values[nodes:] == values[0]).all()
    return DraftTree(
        drafted.token_ids[:nodes], drafted.parents[:nodes], drafted.depths[:nodes], drafted.log_probs[:nodes]
    )


Levels = list[list[list[float]]]


@attrs.frozen
class Drafted:
    """A tree, what it was drafted from, and the shape it had to keep."""

    tree: DraftTree
    shape: TreeShape
    levels: Levels
    widths: list[int]


def draft(shape: TreeShape, levels: Levels, widths: list[int]) -> DraftTree:
    """Grow a tree as the drafter does, from the log-probabilities of every level's candidates.

    Args:
        shape: of the tree at most.
        levels: by beam; those beyond the level's width are left out.
        widths: beams of the levels below the first; the tree ends with the last of them.
    """
    tree = DynamicTree(shape, torch.device("cpu"))
    tree.begin(torch.tensor([ROOT]))
    grow(tree, levels[0])
    for width, log_probs in zip(widths[: shape.levels - 1], levels[1:], strict=False):
        tree.select_beams(width)
        grow(tree, log_probs[:width])
    return build(tree)


@st.composite
def drafted_trees(draw: st.DrawFn) -> Drafted:
    branching, depth = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    nodes = draw(st.integers(2, most_nodes(branching, depth)))
    shape = TreeShape(depth, branching, nodes)
    widths = draw(st.lists(st.integers(1, branching), max_size=depth - 1))
    row = st.lists(LOG_PROBS, min_size=branching, max_size=branching).map(lambda r: sorted(r)[::-1])
    levels = [
        draw(st.lists(row, min_size=beams, max_size=beams)) for beams in [1] + [branching] * (depth - 1)
    ]
    return Drafted(draft(shape, levels, widths), shape, levels, widths)


def drafts() -> st.SearchStrategy[DraftTree]:
    return drafted_trees().map(lambda drafted: drafted.tree)


def grow(tree: DynamicTree, log_probs: list[list[float]], token_ids: list[list[int]] | None = None) -> None:
    values = torch.tensor(log_probs)
    ids = torch.tensor(token_ids) if token_ids else torch.arange(values.numel()).view_as(values) + 10
    tree.add_candidates(values, ids.masked_fill(values == -math.inf, -1))


def scores(tree: DraftTree) -> list[float]:
    """Return the cumulative log-probability of each node."""
    total: list[float] = []
    parents, log_probs = tree.parents.tolist(), tree.log_probs.tolist()
    for parent, log_prob in zip(parents, log_probs, strict=True):
        total.append(log_prob + (total[parent] if parent >= 0 else 0.0))
    return total


@unhurried
@given(drafts())
def test_every_parent_comes_before_its_children(tree: DraftTree) -> None:
    assert tree.parents[0] == -1
    assert all(0 <= parent < node for node, parent in enumerate(tree.parents.tolist()) if node)


@unhurried
@given(drafts())
def test_every_node_is_one_deeper_than_its_parent(tree: DraftTree) -> None:
    assert tree.depths[0] == 0
    assert torch.equal(tree.depths[1:], tree.depths[tree.parents[1:]] + 1)


@unhurried
@given(drafts())
def test_the_mask_is_the_ancestors(tree: DraftTree) -> None:
    mask = tree.ancestor_mask()
    assert torch.equal(mask.sum(1), tree.depths + 1)
    assert all(mask[node, node] and mask[node, 0] for node in range(len(tree)))


@unhurried
@given(drafts())
def test_the_root_is_the_token_drafted_from(tree: DraftTree) -> None:
    assert (int(tree.token_ids[0]), float(tree.log_probs[0])) == (ROOT, 0.0)


@unhurried
@given(drafts())
def test_padding_never_becomes_a_node(tree: DraftTree) -> None:
    assert torch.isfinite(tree.log_probs).all()
    assert (tree.token_ids >= 0).all()


@unhurried
@given(drafts())
def test_a_longer_path_is_never_more_likely_than_a_shorter_one(tree: DraftTree) -> None:
    totals = scores(tree)
    assert totals == sorted(totals, reverse=True)


@unhurried
@given(st.integers(1, 4), st.integers(1, 5), st.floats(0, 1), st.integers(0, 2**32))
def test_the_nodes_are_the_best_candidates(branching: int, depth: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    nodes = max(2, round(share * most_nodes(branching, depth)))
    tree = make_tree(branching, depth, nodes)
    beams, everything = [0.0], [0.0]
    for _ in range(min(depth, nodes - 1)):
        log_probs = torch.rand(len(beams), branching, generator=generator).log().tolist()
        grow(tree, log_probs)
        tree.select_beams()
        candidates = [beam + log_prob for beam, row in zip(beams, log_probs, strict=True) for log_prob in row]
        everything += candidates
        beams = sorted(candidates, reverse=True)[:branching]
    best = sorted(everything, reverse=True)[:nodes]
    assert scores(build(tree)) == pytest.approx(best, abs=1e-5)


def paths(tree: DraftTree) -> list[tuple[int, ...]]:
    """Return the tokens from the root to each node; tokens tell the candidates of a level apart."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(tree.token_ids.tolist(), tree.parents.tolist(), strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return found


@unhurried
@given(drafted_trees())
def test_no_tree_has_more_nodes_than_its_budget(drafted: Drafted) -> None:
    assert 1 <= len(drafted.tree) <= drafted.shape.largest


@unhurried
@given(drafted_trees())
def test_a_tree_is_no_deeper_than_the_levels_that_were_drafted(drafted: Drafted) -> None:
    assert int(drafted.tree.depths.max()) <= min(1 + len(drafted.widths), drafted.shape.levels)


@unhurried
@given(drafted_trees())
def test_no_more_nodes_have_children_than_the_width_of_their_level(drafted: Drafted) -> None:
    tree = drafted.tree
    parents = {(int(tree.depths[parent]), parent) for parent in tree.parents.tolist()[1:]}
    for level, width in enumerate(drafted.widths, start=1):
        assert sum(depth == level for depth, _ in parents) <= width


@unhurried
@given(drafted_trees())
def test_levels_of_any_width_keep_the_best_of_their_candidates(drafted: Drafted) -> None:
    beams, everything = [0.0], [0.0]
    for width, log_probs in zip([1, *drafted.widths], drafted.levels[: drafted.shape.levels], strict=False):
        beams = sorted(beams, reverse=True)[:width]
        rows = zip(beams, log_probs, strict=False)
        beams = [beam + one for beam, row in rows for one in row]
        everything += beams
    best = [one for one in sorted(everything, reverse=True) if one > -math.inf][: drafted.shape.largest]
    assert scores(drafted.tree) == pytest.approx(best, abs=1e-5)


def test_a_level_that_was_not_drafted_leaves_nothing_of_the_tree_before() -> None:
    tree = make_tree(1, 2, 3)
    grow(tree, [[-0.1]], [[11]])
    tree.select_beams()
    grow(tree, [[-0.1]], [[12]])
    assert build(tree).token_ids.tolist() == [ROOT, 11, 12]
    tree.begin(torch.tensor([ROOT]))
    grow(tree, [[-3.0]], [[21]])
    assert build(tree).token_ids.tolist() == [ROOT, 21]


def test_a_narrow_level_leaves_nothing_of_a_wide_one_before() -> None:
    tree = make_tree(2, 2, 7)
    for _ in range(2):
        tree.begin(torch.tensor([ROOT]))
        grow(tree, [[-0.1, -0.2]], [[11, 12]])
        tree.select_beams()
        grow(tree, [[-0.1, -0.2], [-0.3, -0.4]], [[21, 22], [23, 24]])
        assert len(build(tree)) == 7
        tree.begin(torch.tensor([ROOT]))
        grow(tree, [[-0.1, -0.2]], [[31, 32]])
        tree.select_beams(1)
        grow(tree, [[-0.1, -0.2]], [[41, 42]])
        assert sorted(build(tree).token_ids.tolist()) == [ROOT, 31, 32, 41, 42]


@unhurried
@given(st.lists(LOG_PROBS, min_size=3, max_size=3))
def test_the_best_paths_are_told_before_a_level_is_chosen(log_probs: list[float]) -> None:
    tree = make_tree(3, 2, 9)
    grow(tree, [log_probs])
    assert tree.best().tolist() == pytest.approx(sorted((min(one, 0.0) for one in log_probs), reverse=True))


def test_branching_one_drafts_a_chain() -> None:
    tree = make_tree(1, 3, 4)
    for token in (11, 12, 13):
        grow(tree, [[-0.5]], [[token]])
        tree.select_beams()
    drafted = build(tree)
    assert drafted.token_ids.tolist() == [ROOT, 11, 12, 13]
    assert drafted.parents.tolist() == [-1, 0, 1, 2]


def test_a_likely_grandchild_displaces_an_unlikely_child() -> None:
    tree = make_tree(2, 2, 3)
    grow(tree, [[-0.1, -3.0]], [[11, 12]])
    tree.select_beams()
    grow(tree, [[-0.2, -2.0], [-0.1, -4.0]], [[21, 22], [23, 24]])
    drafted = build(tree)
    assert drafted.token_ids.tolist() == [ROOT, 11, 21]
    assert drafted.parents.tolist() == [-1, 0, 1]


def test_beams_remember_their_rows() -> None:
    tree = make_tree(2, 3, 9)
    grow(tree, [[-0.1, -0.3]], [[11, 12]])
    assert tree.select_beams().rows.tolist() == [0, 0]
    grow(tree, [[-2.0, -3.0], [-0.1, -0.2]], [[21, 22], [23, 24]])
    second = tree.select_beams()
    assert (second.token_ids.tolist(), second.rows.tolist()) == ([23, 24], [1, 1])


def test_a_padding_beam_has_a_valid_token_and_leaves_no_node() -> None:
    tree = make_tree(2, 2, 7)
    grow(tree, [[-0.1, -math.inf]], [[11, -1]])
    assert tree.select_beams().token_ids.tolist() == [11, 0]
    grow(tree, [[-0.5, -math.inf], [-0.5, -math.inf]], [[21, -1], [22, -1]])
    assert build(tree).token_ids.tolist() == [ROOT, 11, 21]


def test_without_candidates_only_copies_of_the_root_remain() -> None:
    tree = make_tree(2, 1, 3)
    grow(tree, [[-math.inf, -math.inf]])
    token_ids, parents, depths, log_probs = tree.build()
    assert (token_ids.tolist(), parents.tolist()) == ([ROOT] * 3, [-1] * 3)
    assert depths.tolist() == log_probs.tolist() == [0] * 3


def test_a_candidate_that_is_not_a_number_is_padding() -> None:
    tree = make_tree(2, 1, 3)
    tree.add_candidates(torch.tensor([[math.nan, -0.5]]), torch.tensor([[11, 12]]))
    assert build(tree).token_ids.tolist() == [ROOT, 12]


def test_the_next_tree_forgets_the_last_one() -> None:
    tree = make_tree(2, 2, 7)
    for _ in range(2):
        tree.begin(torch.tensor([ROOT]))
        grow(tree, [[-0.1, -math.inf]], [[11, -1]])
        tree.select_beams()
        grow(tree, [[-0.5, -math.inf], [-0.5, -math.inf]], [[21, -1], [22, -1]])
        assert build(tree).token_ids.tolist() == [ROOT, 11, 21]
        tree.begin(torch.tensor([ROOT]))
        grow(tree, [[-0.1, -0.2]])
        tree.select_beams()
        grow(tree, [[-0.1, -0.2], [-0.1, -0.2]])
        assert len(build(tree)) == 7
