"""The conformance check of verifiers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor

from specframe.contracts.kinds import TreeKind
from specframe.contracts.protocols import Verifier
from specframe.contracts.sampled_tree import SampledShape, SampledTree
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.testing.reference import (
    generator,
    random_tree,
    require,
    require_contract,
    verdict_on,
)


def check_verifier(verifier: Verifier, trees: Iterable[TreeKind] = ("top-k",)) -> None:
    """Check a verifier on trees of every shape with a target that is certain of every token.

    Such a target leaves no choice: whatever the temperature, the accepted path and the next token are known.
    A second round with random logits checks the form of the verdict alone. Whether a verifier that samples is
    exact is the business of ``check_exact_sampling``.

    Args:
        verifier: as its factory returns it.
        trees: the kinds of draft trees that its component declares.

    Raises:
        AssertionError: it breaks a promise of ``Verifier``, or is not lossless.
    """
    require_contract(verifier, Verifier)
    source = generator()
    vocab_size = 31
    for kind in trees:
        for size in (1, 2, 3, 8, 8, 8, 40, 40):
            tree = _tree_of_kind(kind, size, vocab_size, source)
            _check_certain_target(verifier, tree, vocab_size, source)
            random = torch.randn(len(tree), vocab_size, generator=source)
            require(
                _verify(verifier, tree, random) == _verify(verifier, tree, random),
                "the verdict differs for generators of the same seed: it draws from another source",
            )


def _tree_of_kind(kind: TreeKind, size: int, vocab_size: int, source: torch.Generator) -> DraftTree:
    """Return a random tree of a kind with at most ``size`` nodes."""
    if kind == "top-k":
        return random_tree(size, vocab_size, source)
    shape = SampledShape.of(kind, depth=4, branching=4, nodes=size)
    tree = SampledTree(int(torch.randint(vocab_size, (), generator=source)), shape, 1.0, source)
    active_ids = torch.randperm(vocab_size, generator=source)[: vocab_size // 2]
    for level, _ in enumerate(shape.level_sizes):
        if level:
            tree.select_beams()
        beams = shape.beams if level else 1
        tree.add_level(torch.randn(beams, len(active_ids), generator=source), active_ids)
    return tree.build()


def _check_certain_target(
    verifier: Verifier, tree: DraftTree, vocab_size: int, source: torch.Generator
) -> None:
    size = len(tree)
    wanted = torch.randint(vocab_size, (size,), generator=source)
    for node in range(size):
        children = (tree.parents == node).nonzero().flatten()
        if len(children) and bool(torch.rand((), generator=source) < 0.8):
            wanted[node] = tree.token_ids[children[-1]]
    certain = torch.zeros(size, vocab_size)
    certain[torch.arange(size), wanted] = 1e4
    verdict = _verify(verifier, tree, certain)
    path = [0]
    while len(child := ((tree.parents == path[-1]) & (tree.token_ids == wanted[path[-1]])).nonzero()):
        path.append(int(child[0]))
    require(
        verdict.path == tuple(path) and verdict.next_token == int(wanted[path[-1]]),
        f"the target is certain of path {tuple(path)} and then token {int(wanted[path[-1]])}, but the "
        f"verdict is path {verdict.path} and then token {verdict.next_token}",
    )


def _verify(verifier: Verifier, tree: DraftTree, target_logits: Tensor) -> Verdict:
    """Return a verdict whose form was checked, and see that the inputs stay as they were."""
    given = target_logits.clone()
    verdict = verifier.verify(tree, TargetLogits(given, tree), generator())
    require(
        torch.equal(given, target_logits),
        "verify() changed target_logits; its inputs belong to the engine",
    )
    path = verdict.path
    require(path[:1] == (0,), f"the path is {path}; it must begin with the root, node 0")
    require(
        all(int(tree.parents[node]) == parent for parent, node in pairwise(path)),
        f"the path is {path}; every node must be a child of the one before",
    )
    require(
        0 <= verdict.next_token < target_logits.shape[1], f"next_token {verdict.next_token} is out of range"
    )
    expected = verdict_on(tree, path, verdict.next_token)
    require(
        verdict.accepted_ids == expected.accepted_ids,
        f"accepted_ids are {verdict.accepted_ids}; the path's tokens are {expected.accepted_ids}",
    )
    require(
        verdict.path_ends_at_leaf == expected.path_ends_at_leaf,
        f"path_ends_at_leaf is {verdict.path_ends_at_leaf} for node {path[-1]}",
    )
    return verdict
