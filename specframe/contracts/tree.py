"""What flows through one step: the draft tree and the verdict."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.kinds import TreeKind


@attrs.frozen(slots=True, eq=False)
class SampledFrom:
    """What a sampled draft tree was drawn from. K active tokens, R nodes that children were drawn for.

    Attributes:
        kind: how children were drawn; for ``without-replacement`` siblings stand in the order of drawing.
        token_ids: the tokens that could be drawn [K] int64.
        probabilities: the drafter's distribution after each of the R nodes, over ``token_ids``
            [R, K] float32; tokens outside have probability zero.
        rows: for each of the N nodes its row of ``probabilities``; -1 where nothing was drawn.
        paths: for ``chain`` and ``paths``: the nodes of each path in the order of drawing, root excluded.
    """

    kind: TreeKind
    token_ids: Tensor
    probabilities: Tensor
    rows: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...] = ()


@attrs.frozen(slots=True, eq=False)
class DraftTree:
    """N drafted nodes in topological order; node 0 is the root, the last emitted token.

    Attributes:
        token_ids: token of each node [N] int64.
        parents: parent of each node [N] int64, smaller than the node's own index; -1 for the root.
        depths: distance from the root [N] int64; 0 for the root.
        log_probs: drafter's log-probability of each node given its parent [N] float32; 0 for the root.
        sampled_from: what a sampled tree was drawn from; None for the drafter's most likely tokens.
        sources: for people who look at the tree: of each of the N nodes the name of the token source that
            proposed it, such as ``lookup``; None in it for the root and for what the drafter itself proposed.
            None instead of it where that is all nodes.

    A drafter whose trees have a fixed size pads them at the end with copies of the root: parent -1 and all.
    No path leads to a copy, and the target says about it what it says about the root.
    """

    token_ids: Tensor
    parents: Tensor
    depths: Tensor
    log_probs: Tensor
    sampled_from: SampledFrom | None = attrs.field(default=None, kw_only=True)
    sources: tuple[str | None, ...] | None = attrs.field(default=None, kw_only=True)

    @classmethod
    def root_only(cls, root: int, device: torch.device | str = "cpu") -> DraftTree:
        """Return the tree that drafts nothing: a target pass over it is autoregressive decoding."""
        return cls(
            token_ids=torch.full((1,), root, device=device),
            parents=torch.full((1,), -1, device=device),
            depths=torch.zeros(1, dtype=torch.int64, device=device),
            log_probs=torch.zeros(1, device=device),
        )

    def __len__(self) -> int:
        return self.token_ids.shape[0]

    def ancestor_mask(self) -> Tensor:
        """Return who attends to whom [N, N] bool: each node to itself and its ancestors.

        Works by pointer doubling over the parents, in log2(depth) steps without a host read.
        """
        n = len(self)
        nodes = torch.arange(n, device=self.parents.device)
        mask = torch.eye(n, dtype=torch.bool, device=self.parents.device)
        jump = torch.where(self.parents < 0, nodes, self.parents)
        mask[nodes, jump] = True
        for _ in range(max(n - 1, 1).bit_length()):
            mask = mask | mask[jump]
            jump = jump[jump]
        return mask


@attrs.frozen(slots=True)
class Verdict:
    """What the verifier decided about one draft tree.

    Attributes:
        path: accepted nodes from the root downwards; the root (0) is always first.
        accepted_ids: tokens of ``path[1:]``.
        next_token: the bonus or recovered token, the root of the next draft tree.
        path_ends_at_leaf: the last accepted node has no children, so ``next_token`` is a bonus token.
    """

    path: tuple[int, ...]
    accepted_ids: tuple[int, ...]
    next_token: int
    path_ends_at_leaf: bool

    @property
    def emitted_ids(self) -> tuple[int, ...]:
        """Tokens this target pass emits: the accepted ones, then ``next_token``."""
        return (*self.accepted_ids, self.next_token)
