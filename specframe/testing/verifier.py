"""The conformance check of verifiers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import LogitsProcessor, LogitsProcessorList

from specframe.contracts.kinds import TREE_KINDS, TreeKind
from specframe.contracts.protocols import Verifier
from specframe.contracts.sampled_tree import SampledShape, SampledTree
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.testing.promises import alone, called, require, require_contract
from specframe.testing.reference import generator, random_tree, tensors_of, verdict_on

_VOCAB_SIZE = 31


class _ShiftsTokens(LogitsProcessor):
    """A request's logits processor: the logits of each token become those of the one before."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.roll(1, dims=-1)


@alone
def check_verifier(verifier: Verifier, trees: Iterable[TreeKind] = ("top-k",)) -> None:
    """Check a verifier on trees of every shape with a target that is certain of every token.

    Such a target leaves no choice: whatever the temperature, the accepted path and the next token are known.
    So they are with logits processors, and on trees that are padded with copies of the root. A second round
    with random logits checks the form of the verdict alone. Whether a verifier that samples is exact is the
    business of ``check_exact_sampling``.

    Args:
        verifier: as its factory returns it.
        trees: the kinds of draft trees that its component declares.

    Raises:
        BrokenPromise: it breaks a promise of ``Verifier``, or is not lossless.
    """
    require_contract(verifier, Verifier)
    source = generator()
    for kind in trees:
        require(kind in TREE_KINDS, f"trees has {kind!r}; allowed: {', '.join(TREE_KINDS)}")
        first: tuple[DraftTree, Tensor, Verdict] | None = None
        for size in (1, 2, 3, 8, 8, 8, 40, 40):
            tree = _tree_of_kind(kind, size, _VOCAB_SIZE, source)
            _check_certain_target(verifier, tree, source)
            random = torch.randn(len(tree), _VOCAB_SIZE, generator=source)
            verdict = _verify(verifier, tree, random)
            require(
                verdict == _verify(verifier, tree, random),
                "the verdict differs for generators of the same seed: it draws from another source, or keeps "
                "something of earlier trees",
            )
            if len(tree) > 1 and first is None:
                first = tree, random, verdict
            if kind == "top-k":
                _check_certain_target(verifier, _padded(tree, 3), source)
        if first is not None:
            require(
                _verify(verifier, *first[:2]) == first[2],
                "the verdict on a tree differs after other trees: something of them was kept",
            )


def _padded(tree: DraftTree, copies: int) -> DraftTree:
    """Return a tree with copies of its root at the end."""
    token_ids = torch.cat([tree.token_ids, tree.token_ids[:1].expand(copies)])
    rest = (pad(tree.parents, (0, copies), value=-1), pad(tree.depths, (0, copies)))
    return DraftTree(token_ids, *rest, pad(tree.log_probs, (0, copies)))


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


def _check_certain_target(verifier: Verifier, tree: DraftTree, source: torch.Generator) -> None:
    size = len(tree)
    wanted = torch.randint(_VOCAB_SIZE, (size,), generator=source)
    for node in range(size):
        children = (tree.parents == node).nonzero().flatten()
        if len(children) and bool(torch.rand((), generator=source) < 0.8):
            wanted[node] = tree.token_ids[children[-1]]
    # The target says about a copy of the root what it says about the root.
    wanted[(tree.parents < 0).nonzero().flatten()] = wanted[0].clone()
    certain = torch.zeros(size, _VOCAB_SIZE)
    certain[torch.arange(size), wanted] = 1e4
    path = [0]
    while len(child := ((tree.parents == path[-1]) & (tree.token_ids == wanted[path[-1]])).nonzero()):
        path.append(int(child[0]))
    expected = f"path {tuple(path)} and then token {int(wanted[path[-1]])}"
    for processors, raw in ((None, certain), (LogitsProcessorList([_ShiftsTokens()]), certain.roll(-1, 1))):
        verdict = _verify(verifier, tree, raw, processors)
        after = " after the request's logits processors" if processors else ""
        require(
            verdict.path == tuple(path) and verdict.next_token == int(wanted[path[-1]]),
            f"the target is certain of {expected}{after}, but the verdict is path {verdict.path} and then "
            f"token {verdict.next_token}",
        )


def _verify(
    verifier: Verifier,
    tree: DraftTree,
    target_logits: Tensor,
    processors: LogitsProcessorList | None = None,
) -> Verdict:
    """Return a verdict whose form was checked, and see that the inputs stay as they were."""
    given, nodes = target_logits.clone(), [one.clone() for one in tensors_of(tree)]
    target = TargetLogits(given, tree, processors, tree.token_ids[:1])
    verdict = called(verifier, "verify", tree, target, generator())
    require(
        torch.equal(given, target_logits),
        "verify() changed target_logits; its inputs belong to the engine",
    )
    require(
        all(map(torch.equal, nodes, tensors_of(tree))),
        "verify() changed the tree; its inputs belong to the engine",
    )
    check_verdict(verdict, tree, target_logits.shape[1])
    return verdict  # type: ignore[no-any-return]  # it was just looked at


def check_verdict(verdict: object, tree: DraftTree, vocab_size: int) -> None:
    """Check what ``verify`` returned for a tree."""
    require(type(verdict) is Verdict, f"verify() returned a {type(verdict).__name__}; it must be a Verdict")
    assert isinstance(verdict, Verdict)
    path, accepted = verdict.path, verdict.accepted_ids
    for name, values in (("path", path), ("accepted_ids", accepted)):
        require(isinstance(values, tuple), f"{name} is a {type(values).__name__}; it must be a tuple")
        wrong = [one for one in values if type(one) is not int]
        require(not wrong, f"{name} holds a {type(wrong[0] if wrong else 0).__name__}; it must hold ints")
    token, at_leaf = verdict.next_token, verdict.path_ends_at_leaf
    require(type(token) is int, f"next_token is a {type(token).__name__}, {token!r}; it must be an int")
    require(type(at_leaf) is bool, f"path_ends_at_leaf is {at_leaf!r}; it must be True or False")
    require(path[:1] == (0,), f"the path is {path}; it must begin with the root, node 0")
    require(
        all(0 < node < len(tree) and int(tree.parents[node]) == parent for parent, node in pairwise(path)),
        f"the path is {path}; every node must be a child of the one before",
    )
    require(0 <= token < vocab_size, f"next_token {token} is out of range; allowed: 0 to {vocab_size - 1}")
    expected = verdict_on(tree, path, token)
    require(
        accepted == expected.accepted_ids,
        f"accepted_ids are {accepted}; the path's tokens are {expected.accepted_ids}",
    )
    require(at_leaf == expected.path_ends_at_leaf, f"path_ends_at_leaf is {at_leaf} for node {path[-1]}")
