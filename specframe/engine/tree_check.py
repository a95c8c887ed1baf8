"""Checks every draft tree and verdict before anything is emitted, without a read of its own on a device."""

from __future__ import annotations

from itertools import pairwise

import attrs
import torch
from torch import Tensor

from specframe.contracts.called.drafter import CalledDrafter
from specframe.contracts.called.verifier import CalledVerifier
from specframe.contracts.tree import DraftTree, SampledFrom, Verdict
from specframe.errors import SpecframeError

# Rounding may lift the logarithm of a certainty above zero.
_CERTAINTY = 1e-4


class TreeCheck:
    """Sees that a drafter's trees and a verifier's verdicts are what their contracts promise.

    What the host knows of a tree is checked at once. Its values are checked on the device: a broken tree is
    made harmless, and whether it was broken is read after the verdict, when the host has waited anyway.

    Args:
        vocab_size: V of the target.
        max_nodes: the largest N that the drafter declares.
        device: of the trees.
        drafter: makes the trees; None where nothing is drafted.
        verifier: makes the verdicts.
    """

    def __init__(
        self,
        vocab_size: int,
        max_nodes: int,
        device: torch.device,
        drafter: CalledDrafter | None,
        verifier: CalledVerifier,
    ) -> None:
        self._drafter, self._verifier = drafter, verifier
        self._vocab_size = vocab_size
        self._sound = torch.ones((), dtype=torch.bool, pin_memory=device.type == "cuda")
        self._nodes = torch.arange(max_nodes, device=device)
        self._on_host = torch.empty(2, max_nodes, dtype=torch.int64, pin_memory=device.type == "cuda")
        self._copied = torch.cuda.Event() if device.type == "cuda" else None

    def admit(self, tree: DraftTree, root: int) -> DraftTree:
        """Return the tree with every value in range.

        Args:
            tree: as drafted.
            root: token that node 0 must hold.

        Raises:
            ComponentError: it is no tree of int64 and float tensors [N] with 1 to ``max_nodes`` nodes.
        """
        complaint = misshapen(tree, self._nodes)
        if complaint:
            raise self._malformed(complaint)
        nodes = self._nodes[: len(tree)]
        harmless = attrs.evolve(
            tree,
            token_ids=tree.token_ids.clamp(0, self._vocab_size - 1),
            parents=torch.minimum(tree.parents.clamp(min=-1), nodes - 1),
            depths=tree.depths.clamp(0, len(tree) - 1),
        )
        # Beside the root, only its copies have no parent.
        depths = torch.where(tree.parents < 0, 0, tree.depths[harmless.parents.clamp(min=0)] + 1)
        sound = (
            (tree.token_ids == harmless.token_ids)
            & (tree.parents == harmless.parents)
            & ((tree.parents >= 0) | (tree.token_ids == root))
            & (tree.depths == depths)
            & (tree.log_probs <= _CERTAINTY)
            & (tree.log_probs > -torch.inf)
        )
        self._sound.copy_(sound.all() & (tree.token_ids[0] == root), non_blocking=True)
        shape = torch.stack([harmless.token_ids, harmless.parents])
        self._on_host[:, : len(tree)].copy_(shape, non_blocking=True)
        if self._copied is not None:
            self._copied.record()
        self._admitted = tree, root
        return harmless

    def confirm_tree(self) -> None:
        """See that the tree admitted last was sound.

        Raises:
            ComponentError: it is not what its contract promises.
        """
        tree, root = self._admitted
        if self._copied is not None:
            self._copied.synchronize()  # over already where a verdict was read on the host
        if not self._sound:
            raise self._malformed(self._find_fault(tree, root))

    def confirm(self, verdict: Verdict) -> None:
        """See that the tree admitted last was sound and that the verdict belongs to it.

        Raises:
            ComponentError: the tree or the verdict is not what its contract promises.
        """
        self.confirm_tree()
        tree, _ = self._admitted
        wrong = self._misjudged(verdict, *self._on_host[:, : len(tree)].tolist())
        if wrong is not None:
            raise self._verifier.owner.fault(wrong)

    def _malformed(self, complaint: str) -> SpecframeError:
        what = f"drafted a malformed tree: {complaint}"
        return SpecframeError(what) if self._drafter is None else self._drafter.fault(what)

    def _misjudged(self, verdict: Verdict, tokens: list[int], parents: list[int]) -> str | None:
        """Return what is wrong with a verdict on a tree of these tokens and parents, or None."""
        path, accepted, at_leaf = verdict.path, verdict.accepted_ids, verdict.path_ends_at_leaf
        for name, values, allowed in (
            ("path", path, tuple),
            ("accepted_ids", accepted, tuple),
            ("path_ends_at_leaf", at_leaf, bool),
        ):
            if type(values) is not allowed:
                return (
                    f"returned a verdict with a {type(values).__name__} as its {name}; allowed: "
                    f"{allowed.__name__}"
                )
        numbers = [*path, *accepted, verdict.next_token]
        if not all(type(one) is int for one in numbers):
            kind = next(type(one).__name__ for one in numbers if type(one) is not int)
            return f"returned a verdict with a {kind}; allowed: nodes and token ids of type int"
        if path[:1] != (0,) or not all(a < b < len(tokens) for a, b in pairwise(path)):
            return f"accepted the path {path}; allowed: from the root, 0, downwards"
        for above, node in pairwise(path):
            if parents[node] != above:
                return (
                    f"accepted the path {path}, and node {node} is a child of {parents[node]}; allowed: from "
                    "each node to one of its children"
                )
        drafted = tuple(tokens[node] for node in path[1:])
        if accepted != drafted:
            return f"accepted the ids {accepted} for the path {path}; allowed: those of its nodes, {drafted}"
        if not 0 <= verdict.next_token < self._vocab_size:
            return f"emitted token {verdict.next_token}; allowed: 0 to {self._vocab_size - 1}"
        if at_leaf == (path[-1] in parents):
            return (
                f"said path_ends_at_leaf {at_leaf} of the path {path}; allowed: whether its last node has no "
                "children"
            )
        return None

    def _find_fault(self, tree: DraftTree, root: int) -> str:
        """Return what is wrong with a tree that did not pass."""
        tokens, parents, depths = tree.token_ids.tolist(), tree.parents.tolist(), tree.depths.tolist()
        if (tokens[0], parents[0], depths[0]) != (root, -1, 0):
            return f"node 0 is token {tokens[0]}, parent {parents[0]}; allowed: the root {root}, -1, depth 0"
        for node, (token, parent, depth) in enumerate(zip(tokens, parents, depths, strict=True)):
            if not 0 <= token < self._vocab_size:
                return f"node {node} is token {token}; allowed: 0 to {self._vocab_size - 1}"
            if parent == -1 and (token, depth) == (root, 0):
                continue
            if not 0 <= parent < node:
                return f"node {node} has the parent {parent}; allowed: 0 to {node - 1}"
            if depth != depths[parent] + 1:
                return f"node {node} has depth {depth}; allowed: {depths[parent] + 1}, one below its parent"
        return "a log-probability is positive, infinite or NaN"


def misshapen(tree: object, nodes: Tensor) -> str | None:
    """Return what is wrong with the form of a tree, from what the host knows; ``nodes`` [max_nodes]."""
    if not isinstance(tree, DraftTree):
        return f"it is of type {type(tree).__name__}; allowed: DraftTree"
    for name in ("token_ids", "parents", "depths", "log_probs"):
        values = getattr(tree, name)
        if not isinstance(values, Tensor) or values.dim() != 1:
            return f"{name} is no tensor [N]"
        if len(values) != len(tree):
            return f"{name} has {len(values)} entries for {len(tree)} nodes"
        if values.device != nodes.device:
            return f"{name} is on {values.device}; allowed: {nodes.device}"
        if not values.is_floating_point() if name == "log_probs" else values.dtype != torch.int64:
            return f"{name} is {values.dtype}; allowed: {'float32' if name == 'log_probs' else 'int64'}"
    drawn = tree.sampled_from
    if drawn is not None and not isinstance(drawn, SampledFrom):
        return f"its sampled_from is of type {type(drawn).__name__}; allowed: SampledFrom, or None"
    if drawn is not None and len(drawn.rows) != len(tree):
        return f"it was sampled for {len(drawn.rows)} nodes of {len(tree)}"
    wrong = None if tree.sources is None else _unnamed(tree.sources, len(tree))
    if wrong is not None:
        return wrong
    if not 1 <= len(tree) <= len(nodes):
        return f"it has {len(tree)} nodes; allowed: 1 to {len(nodes)}"
    return None


def _unnamed(sources: object, nodes: int) -> str | None:
    """Return what is wrong with the sources of a tree of so many nodes, or None."""
    if not isinstance(sources, tuple):
        return f"its sources are a {type(sources).__name__}; allowed: a tuple of a name or None for each node"
    if len(sources) != nodes:
        return f"its sources have {len(sources)} entries for {nodes} nodes"
    for name in sources:
        if name is not None and not (isinstance(name, str) and name):
            return f"one of its sources is {name!r}; allowed: a name, or None for the drafter itself"
    return None
