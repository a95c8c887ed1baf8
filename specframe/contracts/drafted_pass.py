"""One target pass as people look at it: the draft tree on the host, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from specframe.contracts.report import DraftKind, Rejection


@attrs.frozen(slots=True)
class DraftedNode:
    """A node of a draft tree.

    Attributes:
        token_id: its token.
        parent: its parent's place among the nodes; -1 for the root.
        depth: distance from the root.
        probability: the drafter's, given the parent; 1 for the root.
        source: name of the token source that proposed it; None for what the drafter itself proposed.
        active: its token was active at its level when it was drafted; the root counts as active.
    """

    token_id: int
    parent: int
    depth: int
    probability: float
    source: str | None
    active: bool


@attrs.frozen(slots=True)
class DraftedPass:
    """One target pass over N nodes; copies of the root are left out.

    Attributes:
        nodes: the root first, each after its parent [N].
        path: the accepted nodes from the root down, by their places.
        emitted_ids: tokens emitted, cut at the end of the generation.
        next_token: the bonus or recovered token, also where the generation ended before it.
        next_active: that token was active when the pass was drafted.
        rejection: why the path ended; None when it ended at a leaf of the tree.
        active_size: K when the pass was drafted.
        draft: what the draft came from; None where no measured costs decide.
    """

    nodes: Sequence[DraftedNode]
    path: tuple[int, ...]
    emitted_ids: tuple[int, ...]
    next_token: int
    next_active: bool
    rejection: Rejection | None
    active_size: int
    draft: DraftKind | None = None
