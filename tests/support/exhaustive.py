"""What a verifier emits, exactly: every draft tree and every decision, each with its probability."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from specframe.contracts.kinds import TreeKind
from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, SampledFrom
from specframe_plugins.verifiers.acceptance import drawing

Distribution = dict[tuple[int, ...], float]

# Branches that rounding alone opens.
_NEGLIGIBLE = 1e-13


class Decisions:
    """Stands in for the functions that draw: follows a script, and notes where it could have gone."""

    def __init__(self, script: tuple[int, ...]) -> None:
        self.script = script
        self.probability = 1.0
        self.open: list[tuple[int, ...]] = []
        self._taken = 0

    def _choose(self, options: list[tuple[int, float]]) -> int:
        options = [(value, weight) for value, weight in options if weight > _NEGLIGIBLE]
        at = self.script[self._taken] if self._taken < len(self.script) else 0
        if self._taken >= len(self.script):
            self.open += [(*self.script, other) for other in range(1, len(options))]
            self.script = (*self.script, 0)
        self._taken += 1
        self.probability *= options[at][1]
        return options[at][0]

    def draw(self, weights: Tensor, generator: Generator | None) -> int:
        total = float(weights.double().sum())
        return self._choose([(i, weight / total) for i, weight in enumerate(weights.double().tolist())])

    def accepts(self, probability: float, generator: Generator | None) -> bool:
        accepted = min(probability, 1.0)
        return bool(self._choose([(1, accepted), (0, 1.0 - accepted)]))


@contextmanager
def scripted_decisions(decisions: Decisions) -> Iterator[None]:
    saved = drawing.draw, drawing.accepts
    drawing.draw, drawing.accepts = decisions.draw, decisions.accepts  # type: ignore[assignment]
    try:
        yield
    finally:
        drawing.draw, drawing.accepts = saved


def emitted_exactly(verifier: Verifier, tree: DraftTree, target: TargetLogits) -> Distribution:
    """Return the probability of everything a verifier may emit for one draft tree."""
    emitted: Distribution = {}
    scripts: list[tuple[int, ...]] = [()]
    while scripts:
        decisions = Decisions(scripts.pop())
        with scripted_decisions(decisions):
            ids = verifier.verify(tree, target, None).emitted_ids
        emitted[ids] = emitted.get(ids, 0.0) + decisions.probability
        scripts += decisions.open
    return emitted


def all_trees(
    kind: TreeKind, drafter: Callable[[tuple[int, ...]], Tensor], active: Tensor, depth: int, width: int
) -> Iterator[tuple[DraftTree, float]]:
    """Yield every draft tree of a kind and its probability: ``width`` paths, or children per node.

    Args:
        kind: of the tree.
        drafter: returns the drafter's distribution over ``active`` [K] after tokens below the root.
        active: [K].
        depth: levels.
        width: paths, or children of every node.
    """
    tokens = active.tolist()
    if kind == "top-k":
        yield _tree(kind, _top_k(drafter, tokens, depth, width), drafter, active), 1.0
    elif kind == "without-replacement":
        for nodes, probability in _without_replacement(drafter, tokens, [()], depth, width):
            yield _tree(kind, nodes, drafter, active), probability
    else:
        all_paths = list(itertools.product(range(len(tokens)), repeat=depth))
        weights = {path: _path_probability(drafter, tokens, path) for path in all_paths}
        for paths in itertools.product(all_paths, repeat=width):
            probability = 1.0
            for path in paths:
                probability *= weights[path]
            if probability > _NEGLIGIBLE:
                drawn = [tuple(tokens[i] for i in path) for path in paths]
                nodes = [path[: level + 1] for path in drawn for level in range(depth)]
                yield _tree(kind, nodes, drafter, active, drawn), probability


def _path_probability(
    drafter: Callable[[tuple[int, ...]], Tensor], tokens: list[int], path: tuple[int, ...]
) -> float:
    probability = 1.0
    for level, index in enumerate(path):
        probability *= float(drafter(tuple(tokens[i] for i in path[:level]))[index])
    return probability


def _top_k(
    drafter: Callable[[tuple[int, ...]], Tensor], tokens: list[int], depth: int, width: int
) -> list[tuple[int, ...]]:
    level, nodes = [()], list[tuple[int, ...]]()
    for _ in range(depth):
        level = [
            (*above, tokens[i])
            for above in level
            for i in drafter(above).topk(min(width, len(tokens))).indices.tolist()
        ]
        nodes += level
    return nodes


def _without_replacement(
    drafter: Callable[[tuple[int, ...]], Tensor],
    tokens: list[int],
    level: list[tuple[int, ...]],
    depth: int,
    width: int,
) -> Iterator[tuple[list[tuple[int, ...]], float]]:
    """Yield the nodes below a level and their probability; every node of a level gets ``width`` children."""
    if not depth:
        yield [], 1.0
        return
    for drawn in itertools.product(
        itertools.permutations(range(len(tokens)), min(width, len(tokens))), repeat=len(level)
    ):
        probability, below = 1.0, list[tuple[int, ...]]()
        for above, children in zip(level, drawn, strict=True):
            q = drafter(above).double()
            for child in children:
                probability *= float(q[child] / q.sum())
                q[child] = 0.0
                below.append((*above, tokens[child]))
        if probability > _NEGLIGIBLE:
            for deeper, chance in _without_replacement(drafter, tokens, below, depth - 1, width):
                yield below + deeper, probability * chance


def _tree(
    kind: TreeKind,
    nodes: list[tuple[int, ...]],
    drafter: Callable[[tuple[int, ...]], Tensor],
    active: Tensor,
    paths: list[tuple[int, ...]] | None = None,
) -> DraftTree:
    """Return the tree of nodes, given as the tokens below the root down to each; root token 0."""
    ordered = sorted(dict.fromkeys(nodes), key=len)
    number = {(): 0} | {node: at for at, node in enumerate(ordered, start=1)}
    expanded = sorted({node[:-1] for node in ordered}, key=number.__getitem__)
    sampled_from = None
    if kind != "top-k":
        sampled_from = SampledFrom(
            kind,
            active,
            torch.stack([drafter(node) for node in expanded]).float(),
            tuple(expanded.index(node) if node in expanded else -1 for node in number),
            tuple(tuple(number[path[: i + 1]] for i in range(len(path))) for path in paths or ()),
        )
    return DraftTree(
        torch.tensor([0, *(node[-1] for node in ordered)]),
        torch.tensor([-1, *(number[node[:-1]] for node in ordered)]),
        torch.tensor([0, *map(len, ordered)]),
        torch.zeros(len(number)),
        sampled_from=sampled_from,
    )


def lengthened(
    emitted: Mapping[tuple[int, ...], float], target: Callable[[tuple[int, ...]], Tensor], length: int
) -> Distribution:
    """Return the distribution of the first ``length`` tokens: what is missing is drawn from the target."""
    done: Distribution = {}
    for ids, probability in emitted.items():
        for rest, chance in sequences(target, length, ids[:length]).items():
            done[rest] = done.get(rest, 0.0) + probability * chance
    return done


def sequences(
    target: Callable[[tuple[int, ...]], Tensor], length: int, start: tuple[int, ...] = ()
) -> Distribution:
    """Return the target's own distribution of sequences that begin with ``start``."""
    if len(start) == length:
        return {start: 1.0}
    found: Distribution = {}
    for token, chance in enumerate(target(start).tolist()):
        if chance:
            for rest, more in sequences(target, length, (*start, token)).items():
                found[rest] = chance * more
    return found


def total_variation(one: Mapping[tuple[int, ...], float], other: Mapping[tuple[int, ...], float]) -> float:
    """Return half the sum of absolute differences."""
    return sum(abs(one.get(key, 0.0) - other.get(key, 0.0)) for key in {*one, *other}) / 2
