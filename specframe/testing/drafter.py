"""The conformance check of drafters."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.testing.budget import ScriptedBudget
from specframe.testing.reference import (
    ReferenceGather,
    generator,
    last_node,
    path_to,
    require,
    require_contract,
    verdict_on,
)
from specframe.vocabulary.draft_head import DraftHead
from specframe.vocabulary.every_token import EveryToken
from specframe.vocabulary.store import VocabularyStore


@attrs.frozen
class _Stage:
    """What a drafter drafts on.

    Attributes:
        drafter: is checked.
        gather: what it is given as the LM head.
        feature_size: F.
        allowed: ids that may be proposed, in the order of the columns of ``gather``.
        vocab_size: V.
        like: has the device and dtype of features.
    """

    drafter: Drafter
    gather: GatherBackend
    feature_size: int
    allowed: dict[int, None]
    vocab_size: int
    like: Tensor

    @property
    def copies(self) -> bool:
        """Whether it proposes tokens that no head has scored."""
        return self.drafter.copies_context or self.drafter.output_head is None

    def features(self, n: int, source: torch.Generator) -> Tensor:
        """Return random features [n, F]."""
        return torch.randn(n, self.feature_size, generator=source).to(self.like)

    def text(self, length: int, source: torch.Generator) -> Tensor:
        """Return random token ids [length], which repeat themselves for a drafter that copies."""
        period = 7 if self.copies else length
        ids = torch.randint(self.vocab_size, (period,), generator=source)
        return ids.repeat(length // period + 1)[:length].to(self.like.device)

    def start(self, prompt_ids: Tensor, features: Tensor, kept: int = 0) -> None:
        """Begin a request as the engine does, with nothing of requests before."""
        drafter = self.drafter
        drafter.forget()
        active_ids = torch.tensor([*self.allowed], device=self.like.device)
        drafter.propose_among(lambda ids: torch.tensor([token_id in self.allowed for token_id in ids]))
        drafter.sample_from(generator(), lambda count: active_ids[:count])
        if kept:
            drafter.resume(prompt_ids, features[kept:], kept)
        else:
            drafter.start(prompt_ids, features)
        if drafter.harvest_topk and drafter.prompt_window:
            last = prompt_ids[-drafter.prompt_window :]
            drafter.learn_prompt(last, self.top(last))

    def commit(self, verdict: Verdict, tree: DraftTree) -> None:
        """Let it take over a path, and learn what the target said."""
        self.drafter.commit(verdict)
        self.drafter.learn(verdict, tree, self.top(tree.token_ids) if self.drafter.harvest_topk else None)

    def top(self, token_ids: Tensor) -> TopTokens:
        """Return what is likely after some tokens: made up, and always the same after the same token."""
        k = self.drafter.harvest_topk
        ranks = torch.arange(k, device=token_ids.device)
        ids = (7 * token_ids[:, None] + 3 * ranks + 1) % self.vocab_size
        log_probs = (-1.0 - ranks).float().expand(len(ids), k)
        return TopTokens(ids, log_probs if self.drafter.harvest_log_probs else None)


def check_drafter(drafter: Drafter, feature_size: int, vocab_size: int = 100) -> None:
    """Check a drafter over the full vocabulary, over a small active set, and over one that is almost empty.

    It is left within a budget that grants everything. One without an LM head is checked over all tokens.

    Args:
        drafter: as its factory returns it.
        feature_size: F, the width of the target's features.
        vocab_size: V of the target, for a drafter without an LM head; others have that of their head.

    Raises:
        AssertionError: it breaks a promise of ``Drafter``.
    """
    require_contract(drafter, Drafter)
    require(drafter.branching >= 1, f"branching is {drafter.branching}; allowed: 1 or more")
    require(drafter.max_nodes >= 1, f"max_nodes is {drafter.max_nodes}; allowed: 1 or more")
    require(drafter.max_depth >= 0, f"max_depth is {drafter.max_depth}; allowed: 0 or more")
    for name in ("harvest_topk", "prompt_window"):
        number = getattr(drafter, name)
        require(number >= 0, f"{name} is {number}; allowed: 0 or more")
    for stage in _stages(drafter, feature_size, vocab_size):
        first = _drafts(stage, prompt_length=9)
        _drafts(stage, prompt_length=1)
        require(
            all(map(_same, first, _drafts(stage, prompt_length=9))),
            "the same request drafted other trees than before: an earlier request leaked into it",
        )
        _check_resuming(stage)
        if drafter.can_pause:
            _check_pausing(stage)
        if stage.copies:
            _check_copying(stage)
        _check_budget(stage, first)


def _stages(drafter: Drafter, feature_size: int, vocab_size: int) -> Iterator[_Stage]:
    head = drafter.output_head
    if head is None:
        every = EveryToken(vocab_size, torch.device("cpu"))
        yield _Stage(
            drafter, every.head, feature_size, dict.fromkeys(range(vocab_size)), vocab_size, torch.empty(0)
        )
        return
    capacity = min(2 * drafter.branching + 3, head.vocab_size)
    for size in (head.vocab_size, capacity, 1):
        active_ids = head.row_map.tokens(torch.arange(head.vocab_size - size, head.vocab_size))
        gather = DraftHead(ReferenceGather(), head.row_map)
        if size == head.vocab_size:
            gather.bind(head, None)
        else:
            active_ids = active_ids.sort().values
            store = VocabularyStore(head, ReferenceGather(), capacity=capacity, pinned_ids=active_ids)
            gather = store.head
        allowed = dict.fromkeys(active_ids.tolist())
        yield _Stage(drafter, gather, feature_size, allowed, head.row_map.vocab_size, head.weight)


def _drafts(stage: _Stage, prompt_length: int, budget: ScriptedBudget | None = None) -> list[DraftTree]:
    """Return the trees of one request of five target passes, each checked."""
    source, drafter, clock = generator(), stage.drafter, PhaseClock()
    clock.start()
    prompt_ids = torch.randint(stage.vocab_size, (prompt_length,), generator=source)
    prompt_features = stage.features(prompt_length, source)
    stage.start(prompt_ids.to(stage.like.device), prompt_features)
    committed, root, trees = prompt_features[-1:], 0, []
    for accept in (False, True, True, False, True):
        if budget is not None:
            budget.begin()
        tree = drafter.draft(root, committed, stage.gather, clock)
        _check_tree(tree, root, stage)
        if budget is not None and budget.refused and not stage.copies:
            levels, depth = 1 + budget.granted, int(tree.depths.max())
            require(depth <= levels, f"a budget granted {levels} levels, and the tree is {depth} deep")
        trees.append(tree)
        path = path_to(tree, last_node(tree)) if accept else (0,)
        root = int(torch.randint(stage.vocab_size, (), generator=source))
        stage.commit(verdict_on(tree, path, root), tree)
        committed = stage.features(len(path), source)
    return trees


def _check_resuming(stage: _Stage) -> None:
    """Check that a request that goes on from another one drafts what it drafts from the start."""
    source, drafter, clock = generator(), stage.drafter, PhaseClock()
    clock.start()
    known, length = 9, 15
    prompt_ids = stage.text(length + 1, source)
    prompt_ids, root = prompt_ids[:length], int(prompt_ids[length])
    features = stage.features(length, source)
    stage.start(prompt_ids, features)
    expected = drafter.draft(root, features[-1:], stage.gather, clock)
    for kept in (known, 4, 1):
        stage.start(prompt_ids[:known], features[:known])
        drafter.draft(int(prompt_ids[known]), features[known - 1 : known], stage.gather, clock)
        remembered = drafter.remembered
        require(0 <= remembered <= known, f"remembered is {remembered} after {known} positions")
        kept = min(kept, remembered)
        if kept:
            stage.start(prompt_ids, features, kept)
            tree = drafter.draft(root, features[-1:], stage.gather, clock)
            require(
                _same(tree, expected),
                f"after resume() with {kept} kept positions it drafts another tree than after start()",
            )


def _check_pausing(stage: _Stage) -> None:
    """Check that after tokens without a draft it drafts what it drafts after drafts that came to nothing."""
    drafter, clock = stage.drafter, PhaseClock()
    clock.start()
    trees = []
    for pauses in (False, True):
        source = generator()
        text = stage.text(13, source)
        prompt_ids, roots = text[:7], text[7:].tolist()
        features = stage.features(12, source)
        stage.start(prompt_ids, features[:7])
        for step in range(5):
            if pauses and step in (1, 3):
                # Two passes are told of at once, and then a single one.
                ids = roots[1:3] if step == 1 else roots[3:4]
                drafter.skip(
                    torch.tensor(ids, device=stage.like.device), features[6 + step : 6 + step + len(ids)]
                )
            if pauses and step in (1, 2, 3):
                continue
            tree = drafter.draft(roots[step], features[6 + step : 7 + step], stage.gather, clock)
            drafter.commit(verdict_on(tree, (0,), roots[step + 1]))
        trees.append(tree)
    expected, found = trees
    if expected.sampled_from is None:  # what is drawn depends on what was drawn before
        require(
            _same(found, expected),
            "after skip() it drafts another tree than after drafts that were rejected",
        )


def _check_copying(stage: _Stage) -> None:
    """Check the trees that follow a text that says the same again and again, in tokens active and not."""
    source, drafter, clock = generator(), stage.drafter, PhaseClock()
    clock.start()
    # The last rows are active in every active set, the first ones in none but the full vocabulary.
    head = drafter.output_head
    rows = stage.vocab_size if head is None else head.vocab_size
    cycle = torch.tensor((rows - 1, 0, rows - 2, 1), device=stage.like.device)
    text = (cycle if head is None else head.row_map.tokens(cycle)).repeat(4)
    features = stage.features(len(text), source)
    for length in range(2 * len(cycle), 3 * len(cycle)):
        stage.start(text[:length], features[:length])
        root = int(text[length])
        tree = drafter.draft(root, features[length - 1 : length], stage.gather, clock)
        _check_tree(tree, root, stage)


def _check_budget(stage: _Stage, alone: list[DraftTree]) -> None:
    """Check what it drafts within budgets; ``alone`` are the trees of the same request without one."""
    drafter = stage.drafter
    for widths in (((1,), (), (2, 1), (3,), (1, 1, 1)), ((2, 3), (1, 3), (0,), (1, 2, 3), (3, 3, 3))):
        budget = ScriptedBudget(widths)
        drafter.draft_within(budget)
        for length in (9, 1):
            _drafts(stage, length, budget)
    if drafter.copies_context:
        _check_without_head(stage)
    drafter.draft_within(ScriptedBudget())
    if not drafter.copies_context and alone[0].sampled_from is None:
        require(
            all(map(_same, alone, _drafts(stage, 9))),
            "within a budget that grants everything it drafts other trees than without one",
        )


def _check_without_head(stage: _Stage) -> None:
    """Check that it drafts the same whether its head drafted in vain before, or did not draft."""
    drafter, clock, last = stage.drafter, PhaseClock(), []
    clock.start()
    for head in ([True] * 6, [True, False, True, False, False, True]):
        budget, source = ScriptedBudget(head=head), generator()
        text = stage.text(14, source)
        features = stage.features(13, source)
        drafter.draft_within(budget)
        stage.start(text[:7], features[:7])
        for step, root in enumerate(text[7:13].tolist()):
            budget.begin()
            tree = drafter.draft(root, features[6 + step : 7 + step], stage.gather, clock)
            _check_tree(tree, root, stage)
            stage.commit(verdict_on(tree, (0,), int(text[8 + step])), tree)
        last.append(tree)
    require(
        _same(*last),
        "after drafts without its head it drafts another tree than after rejected ones of its head",
    )


def _same(one: DraftTree, other: DraftTree) -> bool:
    return torch.equal(one.token_ids, other.token_ids) and torch.equal(one.parents, other.parents)


def _check_tree(tree: DraftTree, root: int, stage: _Stage) -> None:
    drafter, allowed = stage.drafter, stage.allowed
    tokens, parents, depths = tree.token_ids.tolist(), tree.parents.tolist(), tree.depths.tolist()
    require(
        tree.token_ids.dtype == tree.parents.dtype == tree.depths.dtype == torch.int64
        and tree.log_probs.dtype == torch.float32,
        "the tree's ids, parents and depths must be int64 and its log-probabilities float32",
    )
    require(
        len(tokens) == len(parents) == len(depths) == len(tree.log_probs),
        "the tree's tensors differ in length",
    )
    require(
        (tokens[0], parents[0], depths[0], float(tree.log_probs[0])) == (root, -1, 0, 0.0),
        "node 0 must be the root: its token, parent -1, depth 0, log-probability 0",
    )
    require(
        len(tokens) <= drafter.max_nodes,
        f"the tree has {len(tokens)} nodes; max_nodes is {drafter.max_nodes}",
    )
    require(
        max(depths) <= drafter.max_depth, f"the tree is {max(depths)} deep; max_depth is {drafter.max_depth}"
    )
    nodes = 1 + last_node(tree)
    require(
        all(
            (tokens[node], depths[node], float(tree.log_probs[node])) == (root, 0, 0.0)
            for node in range(nodes, len(tokens))
        ),
        "a node with parent -1 must be a copy of the root: its token, depth 0, log-probability 0",
    )
    for node in range(1, nodes):
        require(0 <= parents[node] < node, f"node {node} comes before its parent {parents[node]}")
        require(depths[node] == depths[parents[node]] + 1, f"node {node} is not one level below its parent")
        require(tokens[node] in allowed, f"node {node} holds token {tokens[node]}, which is not active")
    children = list(zip(parents[:nodes], tokens, strict=False))
    require(len(set(children)) == len(children), "two children of one node hold the same token")
    require(
        tree.log_probs.isfinite().all() and (tree.log_probs <= 1e-4).all(),
        "a node's log-probability is positive, infinite or NaN",
    )
