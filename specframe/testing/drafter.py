"""The conformance check of drafters."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.clock import PhaseClock
from specframe.contracts.kinds import TREE_KINDS
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, SampledFrom, Verdict
from specframe.testing.budget import ScriptedBudget
from specframe.testing.promises import (
    alone,
    called,
    declared,
    require,
    require_contract,
    require_flag,
    require_tensor,
    require_whole,
)
from specframe.testing.reference import (
    ReferenceGather,
    generator,
    last_node,
    path_to,
    verdict_on,
)
from specframe.vocabulary.draft_head import DraftHead
from specframe.vocabulary.every_token import EveryToken
from specframe.vocabulary.store import VocabularyStore

# What is kept from request to request may show late: target passes of a long request, and short requests
# after it, after which the first one must draft what it did.
_LONG_REQUEST = 60
_SHORT_REQUESTS = 20
# Rounding may lift probabilities a little.
_NEAR = 1e-3


class _AskedHead(GatherBackend):
    """The LM head as a drafter sees it: asked for what the drafter said, and for nothing else.

    Args:
        head: does the work, and is bound already.
        drafter: declares ``branching``.
    """

    def __init__(self, head: GatherBackend, drafter: Drafter) -> None:
        self._head, self._drafter = head, drafter

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Refuse: what a drafter is given is bound."""
        require(False, "draft() called head.bind(), which is the engine's business")

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Refuse: rows are fetched for whoever decides what is active."""
        require(False, "draft() called head.fetch(), which is the vocabulary store's business")

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best."""
        most = self._drafter.branching
        require(k <= most, f"draft() asked the head for the best {k}; branching is {most}")
        self._check(hidden)
        return self._head.topk(hidden, k)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of whatever may be drafted [N, columns] float32."""
        self._check(hidden)
        return self._head.logits(hidden)

    def _check(self, hidden: object) -> None:
        head = self._drafter.output_head
        if head is not None:
            require_tensor(hidden, "what draft() asked the head for", head.dtype, (None, head.hidden_size))


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
        called(drafter, "forget")
        active_ids = torch.tensor([*self.allowed], device=self.like.device)
        called(
            drafter,
            "propose_among",
            lambda ids: torch.tensor([token_id in self.allowed for token_id in ids]),
        )
        called(drafter, "sample_from", generator(), lambda count: active_ids[:count])
        if kept:
            called(drafter, "resume", prompt_ids, features[kept:], kept)
        else:
            called(drafter, "start", prompt_ids, features)
        if drafter.harvest_topk and drafter.prompt_window:
            last = prompt_ids[-drafter.prompt_window :]
            called(drafter, "learn_prompt", last, self.top(last))

    def draft(self, root: int, features: Tensor) -> DraftTree:
        """Return a tree whose form and values were checked."""
        clock = PhaseClock()
        clock.start()
        tree: DraftTree = called(
            self.drafter, "draft", root, features, _AskedHead(self.gather, self.drafter), clock
        )
        _check_tree(tree, root, self)
        return tree

    def commit(self, verdict: Verdict, tree: DraftTree) -> None:
        """Let it take over a path, and learn what the target said."""
        called(self.drafter, "commit", verdict)
        top = self.top(tree.token_ids) if self.drafter.harvest_topk else None
        called(self.drafter, "learn", verdict, tree, top)

    def top(self, token_ids: Tensor) -> TopTokens:
        """Return what is likely after some tokens: made up, and always the same after the same token."""
        k = self.drafter.harvest_topk
        ranks = torch.arange(k, device=token_ids.device)
        ids = (7 * token_ids[:, None] + 3 * ranks + 1) % self.vocab_size
        log_probs = (-1.0 - ranks).float().expand(len(ids), k)
        return TopTokens(ids, log_probs if self.drafter.harvest_log_probs else None)


@alone
def check_drafter(drafter: Drafter, feature_size: int, vocab_size: int = 100) -> None:
    """Check a drafter over the full vocabulary, over a small active set, and over one that is almost empty.

    It drafts a few hundred trees, so that what it keeps from request to request shows. It is left within a
    budget that grants everything. One without an LM head is checked over all tokens.

    Args:
        drafter: as its factory returns it.
        feature_size: F, the width of the target's features.
        vocab_size: V of the target, for a drafter without an LM head; others have that of their head.

    Raises:
        BrokenPromise: it breaks a promise of ``Drafter``.
    """
    require_contract(drafter, Drafter)
    _check_declared(drafter)
    head = drafter.output_head
    weight = None if head is None else head.weight.clone()
    for number, stage in enumerate(_stages(drafter, feature_size, vocab_size)):
        first = _drafts(stage, prompt_length=9)
        _drafts(stage, prompt_length=1)
        require(
            all(map(_same, first, _drafts(stage, prompt_length=9))),
            "the same request drafted other trees than before: an earlier request leaked into it",
        )
        _check_resuming(stage)
        if declared(drafter, "can_pause"):
            _check_pausing(stage)
        if stage.copies:
            _check_copying(stage)
        if number == 0:
            _check_many(stage, first)
        _check_budget(stage, first)
    require(
        weight is None or head is None or torch.equal(head.weight, weight),
        "the drafter changed the weight of its output_head, which may be the target's",
    )


def _check_declared(drafter: Drafter) -> None:
    least = {"branching": 1, "max_nodes": 1, "max_depth": 0, "harvest_topk": 0, "prompt_window": 0}
    for name, allowed in least.items():
        require_whole(drafter, name, allowed)
    for name in ("can_pause", "copies_context", "harvest_log_probs"):
        require_flag(drafter, name)
    head, layers = declared(drafter, "output_head"), declared(drafter, "feature_layers")
    require(
        head is None or isinstance(head, OutputHead),
        f"output_head is a {type(head).__name__}; allowed: an OutputHead, or None",
    )
    require(
        isinstance(layers, tuple) and all(type(one) is int and one >= 0 for one in layers),
        f"feature_layers is {layers!r}; allowed: a tuple of layers, 0 or more",
    )


def _check_many(stage: _Stage, first: list[DraftTree]) -> None:
    """Check that the first request, and a long one, draft what they did after hundreds of drafts."""
    long = _drafts(stage, prompt_length=5, passes=_LONG_REQUEST)
    for number in range(_SHORT_REQUESTS):
        _drafts(stage, prompt_length=1 + number % 4)
    drafts = _LONG_REQUEST + 5 * _SHORT_REQUESTS
    require(
        all(map(_same, first, _drafts(stage, prompt_length=9))),
        f"after {drafts} more drafts the same request drafted other trees: what it keeps outlasts "
        "the request",
    )
    require(
        all(map(_same, long, _drafts(stage, prompt_length=5, passes=_LONG_REQUEST))),
        f"a request of {_LONG_REQUEST} drafts drafted other trees the second time: what it keeps outlasts "
        "the request",
    )


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


def _drafts(
    stage: _Stage, prompt_length: int, budget: ScriptedBudget | None = None, passes: int = 5
) -> list[DraftTree]:
    """Return the trees of one request, each checked; beyond five target passes none accepts anything."""
    source = generator()
    prompt_ids = torch.randint(stage.vocab_size, (prompt_length,), generator=source)
    prompt_features = stage.features(prompt_length, source)
    stage.start(prompt_ids.to(stage.like.device), prompt_features)
    committed, root, trees = prompt_features[-1:], 0, []
    accepts = (False, True, True, False, True)
    for accept in (*accepts, *(False,) * (passes - len(accepts))):
        if budget is not None:
            budget.begin()
        tree = stage.draft(root, committed)
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
    source, drafter = generator(), stage.drafter
    known, length = 9, 15
    prompt_ids = stage.text(length + 1, source)
    prompt_ids, root = prompt_ids[:length], int(prompt_ids[length])
    features = stage.features(length, source)
    stage.start(prompt_ids, features)
    expected = stage.draft(root, features[-1:])
    for kept in (known, 4, 1):
        stage.start(prompt_ids[:known], features[:known])
        stage.draft(int(prompt_ids[known]), features[known - 1 : known])
        remembered = declared(drafter, "remembered")
        require(
            type(remembered) is int and 0 <= remembered <= known,
            f"remembered is {remembered!r} after {known} positions; allowed: 0 to {known}",
        )
        kept = min(kept, remembered)
        if kept:
            stage.start(prompt_ids, features, kept)
            tree = stage.draft(root, features[-1:])
            require(
                _same(tree, expected),
                f"after resume() with {kept} kept positions it drafts another tree than after start()",
            )


def _check_pausing(stage: _Stage) -> None:
    """Check that after tokens without a draft it drafts what it drafts after drafts that came to nothing."""
    drafter = stage.drafter
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
                skipped = torch.tensor(ids, device=stage.like.device)
                called(drafter, "skip", skipped, features[6 + step : 6 + step + len(ids)])
            if pauses and step in (1, 2, 3):
                continue
            tree = stage.draft(roots[step], features[6 + step : 7 + step])
            called(drafter, "commit", verdict_on(tree, (0,), roots[step + 1]))
        trees.append(tree)
    expected, found = trees
    if expected.sampled_from is None:  # what is drawn depends on what was drawn before
        require(
            _same(found, expected),
            "after skip() it drafts another tree than after drafts that were rejected",
        )


def _check_copying(stage: _Stage) -> None:
    """Check the trees that follow a text that says the same again and again, in tokens active and not."""
    source = generator()
    # The last rows are active in every active set, the first ones in none but the full vocabulary.
    head = stage.drafter.output_head
    rows = stage.vocab_size if head is None else head.vocab_size
    cycle = torch.tensor((rows - 1, 0, rows - 2, 1), device=stage.like.device)
    text = (cycle if head is None else head.row_map.tokens(cycle)).repeat(4)
    features = stage.features(len(text), source)
    for length in range(2 * len(cycle), 3 * len(cycle)):
        stage.start(text[:length], features[:length])
        root = int(text[length])
        stage.draft(root, features[length - 1 : length])


def _check_budget(stage: _Stage, alone: list[DraftTree]) -> None:
    """Check what it drafts within budgets; ``alone`` are the trees of the same request without one."""
    drafter = stage.drafter
    for widths in (((1,), (), (2, 1), (3,), (1, 1, 1)), ((2, 3), (1, 3), (0,), (1, 2, 3), (3, 3, 3))):
        budget = ScriptedBudget(widths)
        called(drafter, "draft_within", budget)
        for length in (9, 1):
            _drafts(stage, length, budget)
    if drafter.copies_context:
        _check_without_head(stage)
    called(drafter, "draft_within", ScriptedBudget())
    if not drafter.copies_context and alone[0].sampled_from is None:
        require(
            all(map(_same, alone, _drafts(stage, 9))),
            "within a budget that grants everything it drafts other trees than without one",
        )


def _check_without_head(stage: _Stage) -> None:
    """Check that it drafts the same whether its head drafted in vain before, or did not draft."""
    drafter, last = stage.drafter, []
    for head in ([True] * 6, [True, False, True, False, False, True]):
        budget, source = ScriptedBudget(head=head), generator()
        text = stage.text(14, source)
        features = stage.features(13, source)
        called(drafter, "draft_within", budget)
        stage.start(text[:7], features[:7])
        for step, root in enumerate(text[7:13].tolist()):
            budget.begin()
            tree = stage.draft(root, features[6 + step : 7 + step])
            stage.commit(verdict_on(tree, (0,), int(text[8 + step])), tree)
        last.append(tree)
    require(
        _same(*last),
        "after drafts without its head it drafts another tree than after rejected ones of its head",
    )


def _same(one: DraftTree, other: DraftTree) -> bool:
    return torch.equal(one.token_ids, other.token_ids) and torch.equal(one.parents, other.parents)


def _check_tree(tree: object, root: int, stage: _Stage) -> None:
    require(isinstance(tree, DraftTree), f"draft() returned a {type(tree).__name__}; it must be a DraftTree")
    assert isinstance(tree, DraftTree)
    drafter, allowed = stage.drafter, stage.allowed
    device = stage.like.device
    require_tensor(tree.token_ids, "the tree's token_ids", torch.int64, (None,), device)
    count = len(tree)
    require(1 <= count <= drafter.max_nodes, f"the tree has {count} nodes; max_nodes is {drafter.max_nodes}")
    require_tensor(tree.parents, "the tree's parents", torch.int64, (count,), device)
    require_tensor(tree.depths, "the tree's depths", torch.int64, (count,), device)
    require_tensor(tree.log_probs, "the tree's log_probs", torch.float32, (count,), device)
    tokens, parents, depths = tree.token_ids.tolist(), tree.parents.tolist(), tree.depths.tolist()
    require(
        (tokens[0], parents[0], depths[0], float(tree.log_probs[0])) == (root, -1, 0, 0.0),
        "node 0 must be the root: its token, parent -1, depth 0, log-probability 0",
    )
    require(
        max(depths) <= drafter.max_depth, f"the tree is {max(depths)} deep; max_depth is {drafter.max_depth}"
    )
    nodes = 1 + last_node(tree)
    require(
        all(
            (tokens[node], depths[node], float(tree.log_probs[node])) == (root, 0, 0.0)
            for node in range(nodes, count)
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
    if not drafter.copies_context:  # a guess beside those of a head is as likely as it was right
        likely = tree.log_probs[1:nodes].double().exp()
        sums = likely.new_zeros(nodes).index_add_(0, tree.parents[1:nodes], likely)
        above = int(sums.argmax())
        require(
            sums[above] <= 1.0 + _NEAR,
            f"the probabilities of the children of node {above} add up to {float(sums[above]):.3f}; allowed: "
            "at most 1, since log_probs are those of each node given its parent",
        )
    if tree.sampled_from is not None:
        _check_sampled_from(tree.sampled_from, count, stage)


def _check_sampled_from(drawn: object, nodes: int, stage: _Stage) -> None:
    require(
        isinstance(drawn, SampledFrom),
        f"sampled_from is a {type(drawn).__name__}; it must be a SampledFrom, or None",
    )
    assert isinstance(drawn, SampledFrom)
    require(
        drawn.kind in TREE_KINDS, f"sampled_from is of kind {drawn.kind!r}; allowed: {', '.join(TREE_KINDS)}"
    )
    require_tensor(drawn.token_ids, "sampled_from.token_ids", torch.int64, (None,))
    shape = (None, len(drawn.token_ids))
    require_tensor(drawn.probabilities, "sampled_from.probabilities", torch.float32, shape)
    sums = drawn.probabilities.sum(dim=1)
    require(
        (drawn.probabilities >= 0).all() and ((sums - 1.0).abs() <= _NEAR).all(),
        "a row of sampled_from.probabilities is no distribution: none may be negative, and they add up to 1",
    )
    require(
        len(drawn.rows) == nodes and all(-1 <= row < len(sums) for row in drawn.rows),
        f"sampled_from.rows has {len(drawn.rows)} entries for {nodes} nodes, or a row that is not there",
    )
    outside = [one for one in drawn.token_ids.tolist() if one not in stage.allowed]
    require(not outside, f"sampled_from has tokens {outside[:1]}, which are not active")
