"""The lossy verifiers do what their papers say, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe_plugins.verifiers.components import LooseOptions, TypicalOptions
from specframe_plugins.verifiers.loose import LooseVerifier
from specframe_plugins.verifiers.typical import TypicalVerifier

VOCAB_SIZE = 6


def tree_of(tokens: list[int], parents: list[int]) -> DraftTree:
    depths = [0]
    for parent in parents[1:]:
        depths.append(depths[parent] + 1)
    return DraftTree(
        torch.tensor(tokens), torch.tensor(parents), torch.tensor(depths), torch.zeros(len(tokens))
    )


def logits_of(rows: list[dict[int, float]]) -> Tensor:
    """Return log-probabilities [N, V]; what a row leaves out is spread over the other tokens."""
    logits = torch.empty(len(rows), VOCAB_SIZE)
    for at, row in enumerate(rows):
        rest = (1.0 - sum(row.values())) / (VOCAB_SIZE - len(row))
        logits[at] = torch.tensor([math.log(max(row.get(t, rest), 1e-30)) for t in range(VOCAB_SIZE)])
    return logits


def typical(tree: DraftTree, logits: Tensor, **options: float) -> Verdict:
    verifier = TypicalVerifier(TypicalOptions(**options))
    return verifier.verify(tree, TargetLogits(logits, tree), torch.Generator().manual_seed(0))


def loose(tree: DraftTree, logits: Tensor, **options: float) -> Verdict:
    verifier = LooseVerifier(LooseOptions(**options))  # type: ignore[arg-type]
    return verifier.verify(tree, TargetLogits(logits, tree), None)


def test_typical_accepts_what_is_likely_enough_and_stops_before_what_is_not() -> None:
    tree = tree_of([0, 1, 2], [-1, 0, 1])
    logits = logits_of([{1: 0.5, 3: 0.5}, {2: 0.01, 4: 0.99}, {5: 1.0}])
    assert typical(tree, logits).path == (0, 1)


def test_typical_asks_less_of_a_token_where_the_target_is_undecided() -> None:
    tree = tree_of([0, 1], [-1, 0])
    undecided = logits_of([{1: 0.1}, {5: 1.0}])
    assert typical(tree, undecided, threshold=0.5).path == (0, 1)
    assert typical(tree, undecided, threshold=0.5, share=1.0).path == (0,)


def test_typical_takes_the_longest_path() -> None:
    tree = tree_of([0, 1, 2, 3], [-1, 0, 0, 2])
    logits = logits_of([{1: 0.6, 2: 0.3}, {4: 1.0}, {3: 0.9}, {4: 1.0}])
    verdict = typical(tree, logits)
    assert (verdict.path, verdict.next_token) == ((0, 2, 3), 4)


def test_loose_is_greedy_where_nothing_mismatches() -> None:
    tree = tree_of([0, 1, 2], [-1, 0, 1])
    verdict = loose(tree, logits_of([{1: 0.9}, {2: 0.9}, {3: 0.9}]))
    assert (verdict.path, verdict.next_token) == ((0, 1, 2), 3)


UNDECIDED_ROOT = [{1: 0.3, 2: 0.29}, {3: 0.9}, {4: 0.9}, {5: 0.9}]


def test_loose_passes_a_mismatch_that_the_target_goes_along_with() -> None:
    tree = tree_of([0, 2, 3, 4], [-1, 0, 1, 2])
    verdict = loose(tree, logits_of(UNDECIDED_ROOT), window=2)
    assert (verdict.path, verdict.next_token) == ((0, 1, 2, 3), 5)


def test_loose_refuses_a_mismatch_that_the_target_corrects() -> None:
    tree = tree_of([0, 2, 3, 5], [-1, 0, 1, 2])
    verdict = loose(tree, logits_of(UNDECIDED_ROOT), window=2)
    assert (verdict.path, verdict.next_token) == ((0,), 1)


def test_loose_refuses_a_mismatch_whose_window_leaves_the_tree() -> None:
    tree = tree_of([0, 2, 3], [-1, 0, 1])
    assert loose(tree, logits_of(UNDECIDED_ROOT[:3]), window=2).path == (0,)


def test_loose_takes_a_target_that_is_nearly_certain_at_its_word() -> None:
    tree = tree_of([0, 2, 3, 4], [-1, 0, 1, 2])
    certain = [{1: 0.98}, *UNDECIDED_ROOT[1:]]
    assert loose(tree, logits_of(certain), window=2).path == (0,)


@pytest.mark.parametrize("entropy", [0.0, 1.0])
def test_the_gate_of_loose_is_the_share_of_the_largest_entropy(entropy: float) -> None:
    tree = tree_of([0, 2, 3, 4], [-1, 0, 1, 2])
    verdict = loose(tree, logits_of(UNDECIDED_ROOT), window=2, entropy=entropy)
    assert (len(verdict.path) == 4) == (entropy == 0.0)
