"""The conformance check of drafters."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree
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
from specframe.vocabulary.store import VocabularyStore

# The active tokens, in the order of the gather backend's columns.
_Allowed = dict[int, None]


def check_drafter(drafter: Drafter, feature_size: int) -> None:
    """Check a drafter over the full vocabulary, over a small active set, and over one that is almost empty.

    It is left within a budget that grants everything.

    Args:
        drafter: as its factory returns it.
        feature_size: F, the width of the target's features.

    Raises:
        AssertionError: it breaks a promise of ``Drafter``.
    """
    require_contract(drafter, Drafter)
    require(drafter.branching >= 1, f"branching is {drafter.branching}; allowed: 1 or more")
    require(drafter.max_nodes >= 1, f"max_nodes is {drafter.max_nodes}; allowed: 1 or more")
    require(drafter.max_depth >= 0, f"max_depth is {drafter.max_depth}; allowed: 0 or more")
    head = drafter.output_head
    capacity = min(2 * drafter.branching + 3, head.vocab_size)
    for size in (head.vocab_size, capacity, 1):
        gather: GatherBackend = DraftHead(ReferenceGather(), head.row_map)
        active_ids = head.row_map.tokens(torch.arange(head.vocab_size - size, head.vocab_size))
        if size == head.vocab_size:
            gather.bind(head, None)
        else:
            active_ids = active_ids.sort().values
            store = VocabularyStore(head, ReferenceGather(), capacity=capacity, pinned_ids=active_ids)
            gather = store.head
        allowed = dict.fromkeys(active_ids.tolist())
        first = _drafts(drafter, gather, feature_size, allowed, prompt_length=9)
        _drafts(drafter, gather, feature_size, allowed, prompt_length=1)
        again = _drafts(drafter, gather, feature_size, allowed, prompt_length=9)
        require(
            all(map(_same, first, again)),
            "the same request drafted other trees than before: an earlier request leaked into it",
        )
        _check_resuming(drafter, gather, feature_size, allowed)
        if drafter.can_pause:
            _check_pausing(drafter, gather, feature_size, allowed)
        if drafter.copies_context:
            _check_copying(drafter, gather, feature_size, allowed)
        _check_budget(drafter, gather, feature_size, allowed, first)


def _drafts(
    drafter: Drafter,
    gather: GatherBackend,
    feature_size: int,
    allowed: _Allowed,
    prompt_length: int,
    budget: ScriptedBudget | None = None,
) -> list[DraftTree]:
    """Return the trees of one request of five target passes, each checked."""
    source, head, clock = generator(), drafter.output_head, PhaseClock()

    def features(n: int) -> Tensor:
        return torch.randn(n, feature_size, generator=source).to(head.weight)

    clock.start()
    prompt_ids = torch.randint(head.row_map.vocab_size, (prompt_length,), generator=source)
    prompt_features = features(prompt_length)
    _give_source(drafter, allowed)
    drafter.start(prompt_ids.to(head.weight.device), prompt_features)
    committed, root, trees = prompt_features[-1:], 0, []
    for accept in (False, True, True, False, True):
        if budget is not None:
            budget.begin()
        tree = drafter.draft(root, committed, gather, clock)
        _check_tree(tree, root, drafter, allowed)
        if budget is not None and budget.refused and not drafter.copies_context:
            levels, depth = 1 + budget.granted, int(tree.depths.max())
            require(depth <= levels, f"a budget granted {levels} levels, and the tree is {depth} deep")
        trees.append(tree)
        path = path_to(tree, last_node(tree)) if accept else (0,)
        root = int(torch.randint(head.row_map.vocab_size, (), generator=source))
        drafter.commit(verdict_on(tree, path, root))
        committed = features(len(path))
    return trees


def _give_source(drafter: Drafter, allowed: _Allowed) -> None:
    """Begin a request of a drafter that draws or copies its trees from the ``allowed`` tokens."""
    active_ids = torch.tensor([*allowed], device=drafter.output_head.weight.device)
    drafter.propose_among(lambda ids: torch.tensor([token_id in allowed for token_id in ids]))
    drafter.sample_from(generator(), lambda count: active_ids[:count])


def _text_for(drafter: Drafter, length: int, source: torch.Generator) -> Tensor:
    """Return random token ids [length], which repeat themselves for a drafter that copies."""
    head, period = drafter.output_head, 7 if drafter.copies_context else length
    ids = torch.randint(head.row_map.vocab_size, (period,), generator=source)
    return ids.repeat(length // period + 1)[:length].to(head.weight.device)


def _check_resuming(drafter: Drafter, gather: GatherBackend, feature_size: int, allowed: _Allowed) -> None:
    """Check that a request that goes on from another one drafts what it drafts from the start."""
    source, head, clock = generator(), drafter.output_head, PhaseClock()
    clock.start()
    known, length = 9, 15
    prompt_ids = _text_for(drafter, length + 1, source)
    prompt_ids, root = prompt_ids[:length], int(prompt_ids[length])
    features = torch.randn(length, feature_size, generator=source).to(head.weight)
    _give_source(drafter, allowed)
    drafter.start(prompt_ids, features)
    expected = drafter.draft(root, features[-1:], gather, clock)
    for kept in (known, 4, 1):
        drafter.start(prompt_ids[:known], features[:known])
        drafter.draft(int(prompt_ids[known]), features[known - 1 : known], gather, clock)
        remembered = drafter.remembered
        require(0 <= remembered <= known, f"remembered is {remembered} after {known} positions")
        kept = min(kept, remembered)
        if kept:
            _give_source(drafter, allowed)
            drafter.resume(prompt_ids, features[kept:], kept)
            tree = drafter.draft(root, features[-1:], gather, clock)
            require(
                _same(tree, expected),
                f"after resume() with {kept} kept positions it drafts another tree than after start()",
            )


def _check_pausing(drafter: Drafter, gather: GatherBackend, feature_size: int, allowed: _Allowed) -> None:
    """Check that after tokens without a draft it drafts what it drafts after drafts that came to nothing."""
    head, clock = drafter.output_head, PhaseClock()
    clock.start()
    trees = []
    for pauses in (False, True):
        source = generator()
        text = _text_for(drafter, 13, source)
        prompt_ids, roots = text[:7], text[7:].tolist()
        features = torch.randn(12, feature_size, generator=source).to(head.weight)
        _give_source(drafter, allowed)
        drafter.start(prompt_ids, features[:7])
        for step in range(5):
            if pauses and step in (1, 3):
                # Two passes are told of at once, and then a single one.
                ids = roots[1:3] if step == 1 else roots[3:4]
                drafter.skip(
                    torch.tensor(ids, device=head.weight.device), features[6 + step : 6 + step + len(ids)]
                )
            if pauses and step in (1, 2, 3):
                continue
            tree = drafter.draft(roots[step], features[6 + step : 7 + step], gather, clock)
            drafter.commit(verdict_on(tree, (0,), roots[step + 1]))
        trees.append(tree)
    expected, found = trees
    if expected.sampled_from is None:  # what is drawn depends on what was drawn before
        require(
            _same(found, expected),
            "after skip() it drafts another tree than after drafts that were rejected",
        )


def _check_copying(drafter: Drafter, gather: GatherBackend, feature_size: int, allowed: _Allowed) -> None:
    """Check the trees that follow a text that says the same again and again, in tokens active and not."""
    source, head, clock = generator(), drafter.output_head, PhaseClock()
    clock.start()
    # The last rows are active in every active set, the first ones in none but the full vocabulary.
    cycle = torch.tensor((head.vocab_size - 1, 0, head.vocab_size - 2, 1), device=head.weight.device)
    text = head.row_map.tokens(cycle).repeat(4)
    features = torch.randn(len(text), feature_size, generator=source).to(head.weight)
    for length in range(2 * len(cycle), 3 * len(cycle)):
        _give_source(drafter, allowed)
        drafter.start(text[:length], features[:length])
        root = int(text[length])
        _check_tree(drafter.draft(root, features[length - 1 : length], gather, clock), root, drafter, allowed)


def _check_budget(
    drafter: Drafter, gather: GatherBackend, feature_size: int, allowed: _Allowed, alone: list[DraftTree]
) -> None:
    """Check what it drafts within budgets; ``alone`` are the trees of the same request without one."""
    for widths in (((1,), (), (2, 1), (3,), (1, 1, 1)), ((2, 3), (1, 3), (0,), (1, 2, 3), (3, 3, 3))):
        budget = ScriptedBudget(widths)
        drafter.draft_within(budget)
        for length in (9, 1):
            _drafts(drafter, gather, feature_size, allowed, length, budget)
    if drafter.copies_context:
        _check_without_head(drafter, gather, feature_size, allowed)
    drafter.draft_within(ScriptedBudget())
    if not drafter.copies_context and alone[0].sampled_from is None:
        require(
            all(map(_same, alone, _drafts(drafter, gather, feature_size, allowed, 9))),
            "within a budget that grants everything it drafts other trees than without one",
        )


def _check_without_head(
    drafter: Drafter, gather: GatherBackend, feature_size: int, allowed: _Allowed
) -> None:
    """Check that it drafts the same whether its head drafted in vain before, or did not draft."""
    clock, last = PhaseClock(), []
    clock.start()
    for head in ([True] * 6, [True, False, True, False, False, True]):
        budget, source = ScriptedBudget(head=head), generator()
        text = _text_for(drafter, 14, source)
        features = torch.randn(13, feature_size, generator=source).to(drafter.output_head.weight)
        drafter.draft_within(budget)
        _give_source(drafter, allowed)
        drafter.start(text[:7], features[:7])
        for step, root in enumerate(text[7:13].tolist()):
            budget.begin()
            tree = drafter.draft(root, features[6 + step : 7 + step], gather, clock)
            _check_tree(tree, root, drafter, allowed)
            drafter.commit(verdict_on(tree, (0,), int(text[8 + step])))
        last.append(tree)
    require(
        _same(*last),
        "after drafts without its head it drafts another tree than after rejected ones of its head",
    )


def _same(one: DraftTree, other: DraftTree) -> bool:
    return torch.equal(one.token_ids, other.token_ids) and torch.equal(one.parents, other.parents)


def _check_tree(tree: DraftTree, root: int, drafter: Drafter, allowed: _Allowed) -> None:
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
