"""The most likely nodes of what all sources guess, grown from the root, the likeliest first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count

import attrs
import torch

from specframe.contracts.tree import DraftTree
from specframe_plugins.sources.source import Evidence, Source


@attrs.frozen(slots=True)
class Sprout:
    """A node that several sources may have guessed.

    Attributes:
        token_id: its token.
        parent: its number in the growth; -1 for the root.
        path: tokens from below the root down to it.
        probability: of the token given its parent.
        reached: of the whole path.
        states: of the guesses by source; None where a source did not guess it.
        source: name of the source that makes it as likely as it is.
    """

    token_id: int
    parent: int
    path: tuple[int, ...]
    probability: float
    reached: float
    states: tuple[object, ...]
    source: str


@attrs.frozen(slots=True)
class Growth:
    """A tree without its root.

    Attributes:
        sprouts: its nodes, each after its parent.
        guesses: whatever was guessed on the way, nodes or not: the number of the node that it would follow,
            the token, and the evidence.
    """

    sprouts: list[Sprout] = attrs.field(factory=list)
    guesses: list[tuple[int, int, Evidence]] = attrs.field(factory=list)

    def outcomes(self, token_ids: Sequence[int]) -> Iterable[tuple[Evidence, bool]]:
        """Yield which guesses were right, given what came; nothing counts below a wrong one."""
        reached = {-1: 0}
        for at, one in enumerate(self.sprouts):
            depth = reached.get(one.parent)
            if depth is not None and depth < len(token_ids) and token_ids[depth] == one.token_id:
                reached[at] = depth + 1
        for parent, token_id, evidence in self.guesses:
            depth = reached.get(parent)
            if depth is not None and depth < len(token_ids):
                yield evidence, token_ids[depth] == token_id


def grow(sources: Sequence[Source], estimate: Callable[[Evidence], float], most: int, least: float) -> Growth:
    """Return the likeliest nodes below the end of a text.

    A token that several sources guess is as likely as the best of them makes it. The likeliest child of a
    node counts first, and the others have what it leaves.

    Args:
        sources: guess.
        estimate: returns how likely guesses with some evidence are.
        most: nodes to return at most.
        least: what is less likely to be reached is left out.
    """
    growth = Growth()
    order = count()
    waiting: list[tuple[float, int, Sprout]] = []

    def sprout(parent: int, path: tuple[int, ...], reached: float, states: Sequence[object]) -> None:
        found: dict[int, tuple[float, list[object], str]] = {}
        for at, source in enumerate(sources):
            if len(path) >= source.depth:
                continue
            for guess in source.after(path, states[at]):
                likely = estimate(guess.evidence)
                growth.guesses.append((parent, guess.token_id, guess.evidence))
                known = found.get(guess.token_id)
                if known is None:
                    known = found[guess.token_id] = (likely, [None] * len(sources), source.name)
                elif likely > known[0]:
                    known = found[guess.token_id] = (likely, known[1], source.name)
                known[1][at] = guess.state
        left = 1.0
        for token_id, (likely, states_of, name) in sorted(found.items(), key=lambda item: -item[1][0]):
            share = min(likely, left)
            left -= share
            if share and reached * share >= least:
                below = (*path, token_id)
                one = Sprout(token_id, parent, below, share, reached * share, tuple(states_of), name)
                heappush(waiting, (-one.reached, next(order), one))

    sprout(-1, (), 1.0, [None] * len(sources))
    while waiting and len(growth.sprouts) < most:
        one = heappop(waiting)[2]
        growth.sprouts.append(one)
        sprout(len(growth.sprouts) - 1, one.path, one.reached, one.states)
    return growth


def without_inactive(grown: Sequence[Sprout], active: Sequence[bool]) -> list[Sprout]:
    """Return the sprouts that may be proposed: active ones whose parents may be."""
    new: dict[int, int] = {-1: -1}
    kept: list[Sprout] = []
    for at, (one, is_active) in enumerate(zip(grown, active, strict=True)):
        if is_active and one.parent in new:
            new[at] = len(kept)
            kept.append(attrs.evolve(one, parent=new[one.parent]))
    return kept


def graft(tree: DraftTree, grown: Sequence[Sprout]) -> DraftTree:
    """Return the tree with sprouts from its root; nodes that it has already are not added again.

    The tokens are compared on the host. Copies of the root, which pad trees of a fixed size, are left out.

    Args:
        tree: of the drafter's most likely tokens.
        grown: sprouts, each after its parent.
    """
    parents = tree.parents.tolist()
    nodes = 1 + max((node for node, parent in enumerate(parents) if parent >= 0), default=0)
    known = dict(zip(zip(parents[:nodes], tree.token_ids.tolist(), strict=False), range(nodes), strict=True))
    place: list[int] = []
    added: list[tuple[int, int, int, float, str]] = []
    for one in grown:
        parent = place[one.parent] if one.parent >= 0 else 0
        node = known.get((parent, one.token_id))
        if node is None:
            node = nodes + len(added)
            added.append((one.token_id, parent, len(one.path), math.log(one.probability), one.source))
        place.append(node)
    token_ids, above, depths, log_probs, names = zip(*added, strict=True) if added else ((), (), (), (), ())
    device = tree.token_ids.device
    new = (
        *(torch.tensor(column, dtype=torch.int64, device=device) for column in (token_ids, above, depths)),
        torch.tensor(log_probs, dtype=torch.float32, device=device),
    )
    columns = (tree.token_ids, tree.parents, tree.depths, tree.log_probs)
    before = tree.sources or (None,) * nodes
    return DraftTree(
        *(torch.cat([old[:nodes], more]) for old, more in zip(columns, new, strict=True)),
        sources=(*before[:nodes], *names),
    )
