"""Verifiers with one mistake each: the check names the promise that each breaks."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.testing import BrokenPromise, check_exact_sampling, check_verifier


class Good(Verifier):
    """Greedy decoding, as plain as can be."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        path, parents, tokens = [0], tree.parents.tolist(), tree.token_ids.tolist()
        while True:
            best = int(target.rows([path[-1]])[0].argmax())
            below = [n for n, parent in enumerate(parents) if parent == path[-1] and tokens[n] == best]
            if not below:
                accepted = tuple(tokens[node] for node in path[1:])
                return Verdict(tuple(path), accepted, best, path[-1] not in parents)
            path.append(below[0])


class Changed(Good):
    """Returns a verdict with other values in it."""

    changes: Any = ()

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        verdict = super().verify(tree, target, generator)
        return attrs.evolve(
            verdict, **{name: change(getattr(verdict, name)) for name, change in self.changes}
        )


class EmitsAFloat(Changed):
    changes = (("next_token", float),)


class EmitsATensor(Changed):
    changes = (("next_token", torch.tensor),)


class EmitsBeyond(Changed):
    changes = (("next_token", lambda token: token + 31),)


class ListsItsPath(Changed):
    changes = (("path", list),)


class CountsNodesInTensors(Changed):
    changes = (("path", lambda path: tuple(map(torch.tensor, path))),)


class LeavesTheRootOut(Changed):
    changes = (("path", lambda path: path[1:]),)


class JumpsBeyondTheTree(Changed):
    changes = (("path", lambda path: (*path, 99)),)


class AcceptsOtherIds(Changed):
    changes = (("accepted_ids", lambda ids: (*ids, 5)),)


class CallsNothingALeaf(Changed):
    changes = (("path_ends_at_leaf", lambda at_leaf: False),)


class SaysOneForTrue(Changed):
    changes = (("path_ends_at_leaf", int),)


class ReturnsNothing(Good):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        return None


class ReturnsAPair(Good):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        return (0,), 5


class AcceptsNothing(Good):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        verdict = super().verify(DraftTree.root_only(int(tree.token_ids[0])), target, generator)
        return attrs.evolve(verdict, path_ends_at_leaf=0 not in tree.parents)


class ReadsTheLastNode(Good):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        verdict = super().verify(tree, target, generator)
        return attrs.evolve(verdict, next_token=int(target.rows([len(tree) - 1]).argmax()))


class IgnoresTheProcessors(Good):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        return super().verify(tree, TargetLogits(target.raw, tree), generator)


class FollowsThePadding(Good):
    """Takes a copy of the root for a child of the last node, whose index is -1 too."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        verdict = super().verify(tree, target, generator)
        copies = [node for node in range(1, len(tree)) if tree.parents[node] == -1]
        if copies:
            verdict = attrs.evolve(verdict, path=(*verdict.path, copies[0]))
        return verdict


class ChangesTheLogits(Good):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        verdict = super().verify(tree, target, generator)
        target.raw.mul_(2.0)
        return verdict


class ChangesTheTree(Good):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        verdict = super().verify(tree, target, generator)
        tree.log_probs.fill_(0.5)
        return verdict


class DrawsFromTheWorld(Good):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        torch.rand(())
        return super().verify(tree, target, generator)


class BringsItsOwnGenerator(Good):
    def __init__(self) -> None:
        self.own = torch.Generator().manual_seed(0)

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        noisy = target.raw + torch.randn(target.raw.shape, generator=self.own)
        if target.processed_at_all or target.raw.max() > 100:
            return super().verify(tree, target, generator)
        return super().verify(tree, TargetLogits(noisy, tree), generator)


class RemembersTheTreeBefore(Good):
    """Says the same about the same tree twice in a row, and something else after another one."""

    def __init__(self) -> None:
        self.last: DraftTree | None = None
        self.trees = 0

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        if tree is not self.last:
            self.last, self.trees = tree, self.trees + 1
        verdict = super().verify(tree, target, generator)
        if target.raw.max() > 100:
            return verdict
        return attrs.evolve(verdict, next_token=(verdict.next_token + self.trees) % 31)


class IsOfAnOlderVersion(Good):
    def verify(self, tree: DraftTree, target: TargetLogits) -> Any:  # type: ignore[override]  # its mistake
        return super().verify(tree, target, None)


class NeedsAChild(Good):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Any:
        if len(tree) == 1:
            raise ValueError("no child")
        return super().verify(tree, target, generator)


class InheritsNothing:
    verify = Good.verify


WRONG = [
    (EmitsAFloat, "next_token is a float, .*; it must be an int"),
    (EmitsATensor, "next_token is a Tensor, .*; it must be an int"),
    (EmitsBeyond, "next_token .* is out of range; allowed: 0 to 30"),
    (ListsItsPath, "path is a list; it must be a tuple"),
    (CountsNodesInTensors, "path holds a Tensor; it must hold ints"),
    (LeavesTheRootOut, "it must begin with the root, node 0"),
    (JumpsBeyondTheTree, "every node must be a child of the one before"),
    (AcceptsOtherIds, "accepted_ids are .*; the path's tokens are"),
    (CallsNothingALeaf, "path_ends_at_leaf is False for node"),
    (SaysOneForTrue, "path_ends_at_leaf is 1; it must be True or False"),
    (ReturnsNothing, r"verify\(\) returned a NoneType; it must be a Verdict"),
    (ReturnsAPair, r"verify\(\) returned a tuple; it must be a Verdict"),
    (AcceptsNothing, r"the target is certain of path \(0, 1\).*but the verdict is path \(0,\)"),
    (ReadsTheLastNode, r"the target is certain of path \(0,.*\) and then token \d+, but"),
    (IgnoresTheProcessors, "after the request's logits processors, but the verdict is"),
    (FollowsThePadding, "every node must be a child of the one before"),
    (ChangesTheLogits, r"verify\(\) changed target_logits; its inputs belong to the engine"),
    (ChangesTheTree, r"verify\(\) changed the tree; its inputs belong to the engine"),
    (DrawsFromTheWorld, r"verify\(\) changed torch's global generator"),
    (BringsItsOwnGenerator, "differs for generators of the same seed: it draws from another source"),
    (RemembersTheTreeBefore, "the verdict on a tree differs after other trees"),
    (IsOfAnOlderVersion, r"verify\(\) raised TypeError: .* verify\(tree, target, generator\) -> Verdict"),
    (NeedsAChild, r"verify\(\) raised ValueError: no child; the promise is verify\("),
    (InheritsNothing, "it is a InheritsNothing; allowed: a class that inherits Verifier"),
]


def test_a_verifier_without_a_mistake_passes() -> None:
    check_verifier(Good(), ("top-k", "chain", "paths", "without-replacement"))


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=[wrong.__name__ for wrong, _ in WRONG])
def test_a_wrong_verifier_is_caught_for_its_own_reason(wrong: type[Any], sentence: str) -> None:
    with pytest.raises(BrokenPromise, match=sentence):
        check_verifier(wrong())


def test_a_kind_of_tree_that_there_is_not_is_named() -> None:
    with pytest.raises(BrokenPromise, match="trees has 'bush'; allowed: top-k, chain"):
        check_verifier(Good(), ("bush",))  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("wrong", [EmitsAFloat, ReturnsNothing, IsOfAnOlderVersion])
def test_the_check_of_exact_sampling_names_what_came_too(wrong: type[Any]) -> None:
    with pytest.raises(BrokenPromise, match=r"must be|raised TypeError"):
        check_exact_sampling(wrong(), ["chain"], draws=10)
