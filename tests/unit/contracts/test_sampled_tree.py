"""Drawn trees: valid, of the declared size, and distributed as they say they are."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from specframe.contracts.kinds import TreeKind
from specframe.contracts.sampled_tree import SampledShape, SampledTree
from specframe.contracts.tree import DraftTree
from specframe.testing.exact_sampling import fit_to

KINDS: tuple[TreeKind, ...] = ("chain", "paths", "without-replacement")
ACTIVE_IDS = torch.tensor([40, 7, 21, 3, 12])
unhurried = settings(deadline=None)  # the first call into torch may take a second


def grown(
    shape: SampledShape, generator: torch.Generator, *, active: int = 5, temperature: float = 1.0
) -> DraftTree:
    """Return a tree whose distributions depend on the beam's token alone."""
    rows = torch.randn(64, 5, generator=torch.Generator().manual_seed(9))
    tree = SampledTree(11, shape, temperature, generator)
    logits = rows[11][None]
    for level in range(len(shape.level_sizes)):
        if level:
            logits = rows[tree.select_beams().token_ids]
        tree.add_level(logits[:, :active], ACTIVE_IDS[:active])
    return tree.build()


@unhurried
@given(
    st.sampled_from(KINDS), st.integers(1, 5), st.integers(1, 5), st.integers(1, 30), st.integers(1, 5),
    st.integers(0, 99),
)  # fmt: skip
def test_every_tree_is_a_tree_within_its_limits(
    kind: TreeKind, depth: int, branching: int, nodes: int, active: int, seed: int
) -> None:
    shape = SampledShape.of(kind, depth=depth, branching=branching, nodes=nodes)
    tree = grown(shape, torch.Generator().manual_seed(seed), active=active)
    assert len(tree) <= shape.max_nodes <= nodes
    assert int(tree.depths.max()) <= depth
    parents, tokens = tree.parents.tolist(), tree.token_ids.tolist()
    assert all(0 <= parent < node for node, parent in enumerate(parents) if node)
    children = list(zip(parents, tokens, strict=True))
    assert len(set(children)) == len(children)
    assert set(tokens[1:]) <= set(ACTIVE_IDS[:active].tolist())
    assert torch.equal(tree.depths[1:], tree.depths[tree.parents[1:]] + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_probabilities_are_those_it_was_drawn_with(kind: TreeKind) -> None:
    shape = SampledShape.of(kind, depth=3, branching=3, nodes=14)
    tree = grown(shape, torch.Generator().manual_seed(1), temperature=0.5)
    assert tree.sampled_from is not None
    column_of = {token: column for column, token in enumerate(tree.sampled_from.token_ids.tolist())}
    for node in range(1, len(tree)):
        row = tree.sampled_from.probabilities[tree.sampled_from.rows[int(tree.parents[node])]]
        assert float(row.sum()) == pytest.approx(1.0, abs=1e-5)
        assert math.log(row[column_of[int(tree.token_ids[node])]]) == pytest.approx(
            float(tree.log_probs[node]), abs=1e-4
        )


def test_equal_beginnings_of_paths_are_merged() -> None:
    shape = SampledShape.of("paths", depth=2, branching=8, nodes=17)
    tree = grown(shape, torch.Generator().manual_seed(2), active=2)
    assert tree.sampled_from is not None
    assert len(tree.sampled_from.paths) == 8
    assert len(tree) <= 1 + 2 + 4
    for path in tree.sampled_from.paths:
        assert [int(tree.depths[node]) for node in path] == [1, 2]
        assert tree.parents[path[0]] == 0
        assert tree.parents[path[1]] == path[0]


def test_siblings_stand_in_the_order_in_which_they_were_drawn() -> None:
    shape = SampledShape.of("without-replacement", depth=1, branching=2, nodes=3)
    generator = torch.Generator().manual_seed(3)
    drawn = Counter(tuple(grown(shape, generator).token_ids[1:].tolist()) for _ in range(6000))
    tree = grown(shape, generator)
    assert tree.sampled_from is not None
    q = tree.sampled_from.probabilities[0].tolist()
    tokens = ACTIVE_IDS.tolist()
    expected = {
        (tokens[i], tokens[j]): q[i] * q[j] / (1 - q[i]) for i in range(5) for j in range(5) if i != j
    }
    assert fit_to(drawn, expected).p_value > 1e-4


def test_paths_are_independent_draws() -> None:
    shape = SampledShape.of("paths", depth=2, branching=2, nodes=5)
    generator = torch.Generator().manual_seed(4)
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(6000):
        tree = grown(shape, generator, active=2)
        assert tree.sampled_from is not None
        counts[tuple(int(tree.token_ids[node]) for path in tree.sampled_from.paths for node in path)] += 1
    rows = torch.randn(64, 5, generator=torch.Generator().manual_seed(9))[:, :2].softmax(dim=1)
    tokens = ACTIVE_IDS[:2].tolist()

    def chance(path: tuple[int, int]) -> float:
        first, second = (tokens.index(token) for token in path)
        return float(rows[11, first] * rows[path[0], second])

    paths = [(a, b) for a in tokens for b in tokens]
    expected = {(*one, *other): chance(one) * chance(other) for one in paths for other in paths}
    assert fit_to(counts, expected).p_value > 1e-4


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    shape = SampledShape.of("without-replacement", depth=1, branching=3, nodes=4)
    tree = SampledTree(0, shape, 1.0, torch.Generator().manual_seed(5))
    tree.add_level(torch.tensor([[0.0, -torch.inf, 0.0]]), torch.tensor([5, 6, 7]))
    assert sorted(tree.build().token_ids[1:].tolist()) == [5, 7]


def test_one_seed_draws_one_tree() -> None:
    shape = SampledShape.of("paths", depth=3, branching=3, nodes=10)
    trees = [grown(shape, torch.Generator().manual_seed(6)).token_ids.tolist() for _ in range(2)]
    assert trees[0] == trees[1]


def test_a_chain_is_one_path_and_paths_share_the_nodes() -> None:
    assert SampledShape.of("chain", depth=3, branching=3, nodes=8).level_sizes == (1, 1, 1)
    assert SampledShape.of("paths", depth=3, branching=3, nodes=8).level_sizes == (2, 2, 2)
    assert SampledShape.of("without-replacement", depth=3, branching=3, nodes=8).level_sizes == (3, 2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_active_only_at_a_later_level_has_no_probability_before(kind: TreeKind) -> None:
    shape = SampledShape.of(kind, depth=2, branching=2, nodes=5)
    tree = SampledTree(0, shape, 1.0, torch.Generator().manual_seed(0))
    tokens = torch.tensor([7, 3, 5, 9])
    tree.add_level(torch.randn(1, 2), tokens[:2])
    tree.select_beams()
    logits = torch.full((shape.beams, 4), -torch.inf)
    logits[:, 2:] = 0.0
    tree.add_level(logits, tokens)
    sampled = tree.build().sampled_from
    assert sampled is not None
    assert sampled.token_ids.tolist() == tokens.tolist()
    assert sampled.probabilities[0, 2:].tolist() == [0.0, 0.0]
    assert (sampled.probabilities[1:, :2] == 0).all()
    torch.testing.assert_close(sampled.probabilities.sum(1), torch.ones(len(sampled.probabilities)))
