"""What flows through one step: the draft tree, the verdict, and the statistics of a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

import attrs
import torch
from torch import Tensor

from specframe.tree_kinds import TreeKind

Rejection = Literal["oov", "drafter_miss"]

# What a controller has drafted over: the strategy's active set, a larger one, everything, or not at all.
Arm = Literal["pruned", "grown", "full", "stopped"]


@attrs.frozen(slots=True, eq=False)
class Draws:
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
        draws: what a sampled tree was drawn from; None for the drafter's most likely tokens.

    A drafter whose trees have a fixed size pads them at the end with copies of the root: parent -1 and all.
    No path leads to a copy, and the target says about it what it says about the root.
    """

    token_ids: Tensor
    parents: Tensor
    depths: Tensor
    log_probs: Tensor
    draws: Draws | None = attrs.field(default=None, kw_only=True)

    @classmethod
    def root_only(cls, root: int, device: torch.device | str = "cpu") -> DraftTree:
        """Return the tree that drafts nothing: a target pass over it is autoregressive decoding."""
        return cls(
            token_ids=torch.tensor([root], device=device),
            parents=torch.tensor([-1], device=device),
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


@attrs.frozen(slots=True)
class StepStats:
    """What one target pass did, for reports and observers.

    Attributes:
        step: index of the target pass in this generation, from 0.
        tree_nodes: N, the root included.
        emitted_ids: tokens emitted, cut at the end of the generation.
        accepted: accepted drafted tokens among them.
        active_size: K when the step was drafted.
        covered: emitted tokens that were in the active set when the step was drafted.
        rejection: why the path ended; None when it ended at a leaf of the tree.
        rows_fetched: LM-head rows fetched since the step before was drafted, or since the request began.
        arm: what the controller chose; None without one.
    """

    step: int
    tree_nodes: int
    emitted_ids: tuple[int, ...]
    accepted: int
    active_size: int
    covered: int
    rejection: Rejection | None
    rows_fetched: int
    arm: Arm | None = None


@attrs.frozen(slots=True)
class PassesPerArm:
    """How many target passes of a generation ran with each choice of the controller."""

    pruned: int
    grown: int
    full: int
    stopped: int

    @classmethod
    def of(cls, steps: Iterable[StepStats]) -> PassesPerArm | None:
        """Return the counts; None when no controller chose anything."""
        counts = Counter(step.arm for step in steps if step.arm is not None)
        return cls(**{arm: counts[arm] for arm in get_args(Arm)}) if counts else None


FinishReason = Literal["eos", "stop", "length"]


@attrs.frozen(slots=True, kw_only=True)
class GenerationReport:
    """One generation, with the keys of ``run --json`` and ``bench --json``.

    Times are seconds, sizes tokens unless the name says bytes. ``draft_s`` is everything between the end of
    one target pass and the start of the next; its named parts are ``draft_backbone_s``, ``draft_head_s``,
    ``draft_tree_s``, ``vocabulary_s`` and ``statistics_s``, which is what recording the step costs; the
    verdict and the commit are the rest of it. ``lossy`` says that the verifier changes the target's
    distribution. ``accept_by_depth[d]`` is the share of target passes that accepted a drafted token at
    depth d + 1. ``token_ids`` end with the token that ended the generation, ``text`` before it.
    ``unknown_ids`` counts the distinct ids that the strategy asked for and the drafter's own, reduced LM
    head has no row for. ``kept_tokens`` are the prompt tokens that an earlier turn had left in the caches.
    ``controller`` counts the target passes by what the controller chose; None where none runs.
    ``fallback`` says which component failed where the rest was generated without drafting; None where none
    did.
    """

    id: str
    task: str
    strategy: str
    drafter: str | None
    verifier: str | None
    gather: str | None
    model: str
    dtype: str
    device: str
    seed: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    lossy: bool = False
    prompt_tokens: int
    kept_tokens: int
    token_ids: list[int]
    text: str
    finish_reason: FinishReason
    new_tokens: int
    target_passes: int
    tau: float
    wall_s: float
    prefill_s: float
    draft_s: float
    draft_backbone_s: float
    draft_head_s: float
    draft_tree_s: float
    vocabulary_s: float
    statistics_s: float
    verify_s: float
    active_mean: float
    active_max: int
    coverage: float
    unknown_ids: int = 0
    oov_rejections: int
    drafter_misses: int
    accept_by_depth: list[float]
    controller: PassesPerArm | None = None
    fallback: str | None
    peak_rss_bytes: int
    specframe_version: str

    @property
    def tokens_per_s(self) -> float:
        """New tokens per second of wall time, prefill included."""
        return self.new_tokens / self.wall_s if self.wall_s else 0.0
