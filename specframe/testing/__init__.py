"""Conformance checks that a plugin author runs: each drives a component through its protocol.

The checks feed awkward but legal inputs and raise ``AssertionError`` with a sentence that says which promise
of ``specframe.contracts.protocols`` was broken. They need no model and no test framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import get_args

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.clock import PhaseClock
from specframe.contracts.kinds import TreeKind
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import (
    CopiesContext,
    Drafter,
    DrawsTrees,
    Eviction,
    GatherBackend,
    PausableDrafter,
    ResumableDrafter,
    Verifier,
    VocabularyBuilder,
)
from specframe.contracts.sampled_tree import SampledShape, SampledTree
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.vocabulary.store import VocabularyStore


class ReferenceGather:
    """The gather backend as a definition: all V logits, cut down to the active set; nothing is packed."""

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach to a head and an active set; None means the full vocabulary."""
        self._head = head
        self._active = active

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy nothing: rows are read from the head."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32."""
        return self._head.logits(hidden).float()[:, self._active_ids()]

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens."""
        ids, n = self._active_ids(), hidden.shape[0]
        found = min(k, len(ids))
        log_probs = torch.full((n, k), -torch.inf, device=hidden.device)
        token_ids = torch.full((n, k), -1, device=hidden.device)
        if found:
            best = self.logits(hidden).log_softmax(dim=-1).topk(found)
            log_probs[:, :found], token_ids[:, :found] = best.values, ids[best.indices]
        return log_probs, token_ids

    def _active_ids(self) -> Tensor:
        if self._active is None:
            return torch.arange(self._head.vocab_size, device=self._head.weight.device)
        return self._active.token_of[: int(self._active.count)].long()


def check_vocabulary_builder(builder: VocabularyBuilder, vocab_size: int) -> None:
    """Check a vocabulary strategy on short, long and repetitive requests.

    Two equal requests must admit the same ids, whatever was requested in between.

    Args:
        builder: as its factory returns it.
        vocab_size: V of the target it was built for; at least 16.

    Raises:
        AssertionError: it breaks a promise of ``VocabularyBuilder``.
    """
    _require(isinstance(builder, VocabularyBuilder), "the strategy lacks a member of VocabularyBuilder")
    _check_ids(builder.pinned_ids, vocab_size, "pinned_ids")
    _require(builder.eviction in get_args(Eviction), f"eviction is {builder.eviction!r}; allowed: fifo, lru")
    _require(
        builder.harvest_topk >= 0 and builder.prompt_window >= 0,
        "harvest_topk and prompt_window are counts; neither may be negative",
    )
    _require(builder.harvest_topk <= vocab_size, "harvest_topk asks for more tokens than there are")
    if builder.capacity is None:
        return
    pinned = len(torch.unique(builder.pinned_ids))
    _require(
        max(pinned, 1) <= builder.capacity <= vocab_size,
        f"capacity is {builder.capacity}; allowed: from the {max(pinned, 1)} pinned ids to the vocabulary of "
        f"{vocab_size}",
    )
    source = _generator()
    prompts = [
        torch.tensor([vocab_size - 1]),
        torch.zeros(300, dtype=torch.int64),
        torch.arange(vocab_size).flip(0),
        torch.randint(vocab_size, (2 * vocab_size,), generator=source),
    ]
    first = [_request(builder, prompt, vocab_size) for prompt in prompts]
    for prompt, before in reversed(list(zip(prompts, first, strict=True))):
        after = _request(builder, prompt, vocab_size)
        _require(
            all(map(torch.equal, before, after)),
            "the same request admitted other ids than before: an earlier request leaked into it",
        )


def check_gather_backend(
    make_backend: Callable[[], GatherBackend],
    device: torch.device | str = "cpu",
    dtypes: Iterable[torch.dtype] = (torch.float32, torch.bfloat16),
) -> None:
    """Check a gather backend against ``ReferenceGather`` while tokens come, go and come back.

    Args:
        make_backend: returns a new, unbound backend.
        device: where to run it.
        dtypes: of the LM heads to run it with.

    Raises:
        AssertionError: it breaks a promise of ``GatherBackend``.
    """
    source = _generator()
    for dtype in dtypes:
        for biased, scale, softcap in ((False, 1.0, None), (True, 0.5, 3.0)):
            head = _random_head(source, torch.device(device), dtype, biased, scale, softcap)
            backend = make_backend()
            _require(isinstance(backend, GatherBackend), "the backend lacks a member of GatherBackend")
            backend.bind(head, None)
            _compare(backend, head, None, source)
            _check_while_tokens_change(make_backend(), head, "lru" if biased else "fifo", source)


def check_drafter(drafter: Drafter, feature_size: int) -> None:
    """Check a drafter over the full vocabulary, over a small active set, and over one that is almost empty.

    Args:
        drafter: as its factory returns it.
        feature_size: F, the width of the target's features.

    Raises:
        AssertionError: it breaks a promise of ``Drafter``.
    """
    _require(isinstance(drafter, Drafter), "the drafter lacks a member of Drafter")
    _require(drafter.branching >= 1, f"branching is {drafter.branching}; allowed: 1 or more")
    _require(drafter.max_nodes >= 1, f"max_nodes is {drafter.max_nodes}; allowed: 1 or more")
    _require(drafter.max_depth >= 0, f"max_depth is {drafter.max_depth}; allowed: 0 or more")
    head = drafter.output_head
    capacity = min(2 * drafter.branching + 3, head.vocab_size)
    for size in (head.vocab_size, capacity, 1):
        gather = ReferenceGather()
        active_ids = torch.arange(head.vocab_size - size, head.vocab_size)
        if size == head.vocab_size:
            gather.bind(head, None)
        else:
            VocabularyStore(head, gather, capacity=capacity, pinned_ids=active_ids)
        allowed = set(active_ids.tolist())
        first = _drafts(drafter, gather, feature_size, allowed, prompt_length=9)
        _drafts(drafter, gather, feature_size, allowed, prompt_length=1)
        again = _drafts(drafter, gather, feature_size, allowed, prompt_length=9)
        _require(
            all(
                torch.equal(one.token_ids, other.token_ids) and torch.equal(one.parents, other.parents)
                for one, other in zip(first, again, strict=True)
            ),
            "the same request drafted other trees than before: an earlier request leaked into it",
        )
        if isinstance(drafter, ResumableDrafter):
            _check_resuming(drafter, gather, feature_size, allowed)
        if isinstance(drafter, PausableDrafter):
            _check_pausing(drafter, gather, feature_size, allowed)
        if isinstance(drafter, CopiesContext):
            _check_copying(drafter, gather, feature_size, allowed)


def check_verifier(verifier: Verifier, trees: Iterable[TreeKind] = ("top-k",)) -> None:
    """Check a verifier on trees of every shape with a target that is certain of every token.

    Such a target leaves no choice: whatever the temperature, the accepted path and the next token are known.
    A second round with random logits checks the form of the verdict alone. Whether a verifier that samples is
    exact is the business of ``check_exact_sampling``.

    Args:
        verifier: as its factory returns it.
        trees: the kinds of draft trees that its component declares.

    Raises:
        AssertionError: it breaks a promise of ``Verifier``, or is not lossless.
    """
    _require(isinstance(verifier, Verifier), "the verifier lacks a member of Verifier")
    source = _generator()
    vocab_size = 31
    for kind in trees:
        for size in (1, 2, 3, 8, 8, 8, 40, 40):
            tree = _tree_of_kind(kind, size, vocab_size, source)
            _check_certain_target(verifier, tree, vocab_size, source)
            random = torch.randn(len(tree), vocab_size, generator=source)
            _require(
                _verify(verifier, tree, random) == _verify(verifier, tree, random),
                "the verdict differs for generators of the same seed: it draws from another source",
            )


def _tree_of_kind(kind: TreeKind, size: int, vocab_size: int, source: torch.Generator) -> DraftTree:
    """Return a random tree of a kind with at most ``size`` nodes."""
    if kind == "top-k":
        return _random_tree(size, vocab_size, source)
    shape = SampledShape.of(kind, depth=4, branching=4, nodes=size)
    tree = SampledTree(int(torch.randint(vocab_size, (), generator=source)), shape, 1.0, source)
    active_ids = torch.randperm(vocab_size, generator=source)[: vocab_size // 2]
    for level, _ in enumerate(shape.level_sizes):
        if level:
            tree.select_beams()
        beams = shape.beams if level else 1
        tree.add_level(torch.randn(beams, len(active_ids), generator=source), active_ids)
    return tree.build()


def _check_certain_target(
    verifier: Verifier, tree: DraftTree, vocab_size: int, source: torch.Generator
) -> None:
    size = len(tree)
    wanted = torch.randint(vocab_size, (size,), generator=source)
    for node in range(size):
        children = (tree.parents == node).nonzero().flatten()
        if len(children) and bool(torch.rand((), generator=source) < 0.8):
            wanted[node] = tree.token_ids[children[-1]]
    certain = torch.zeros(size, vocab_size)
    certain[torch.arange(size), wanted] = 1e4
    verdict = _verify(verifier, tree, certain)
    path = [0]
    while len(child := ((tree.parents == path[-1]) & (tree.token_ids == wanted[path[-1]])).nonzero()):
        path.append(int(child[0]))
    _require(
        verdict.path == tuple(path) and verdict.next_token == int(wanted[path[-1]]),
        f"the target is certain of path {tuple(path)} and then token {int(wanted[path[-1]])}, but the "
        f"verdict is path {verdict.path} and then token {verdict.next_token}",
    )


def _require(condition: object, broken: str) -> None:
    if not condition:
        raise AssertionError(broken)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(20260731)


def _check_ids(ids: Tensor, vocab_size: int, what: str) -> None:
    _require(isinstance(ids, Tensor), f"{what} is {type(ids).__name__}; it must be a tensor")
    _require(ids.dtype == torch.int64, f"{what} has dtype {ids.dtype}; it must be int64")
    _require(ids.ndim == 1, f"{what} has {ids.ndim} dimensions; it must have one")
    in_range = (ids >= 0) & (ids < vocab_size)
    _require(in_range.all(), f"{what} holds id {ids[~in_range][:1].tolist()}; allowed: 0 to {vocab_size - 1}")


def _request(builder: VocabularyBuilder, prompt_ids: Tensor, vocab_size: int) -> list[Tensor]:
    """Return what a builder admits in one request of five target passes that depend on nothing else."""
    source = _generator()

    def harvest(positions: int) -> Tensor:
        return torch.randint(vocab_size, (positions, builder.harvest_topk), generator=source)

    positions = min(len(prompt_ids), builder.prompt_window)
    prompt_ids = prompt_ids.clone()
    given = prompt_ids.clone()
    admitted = [builder.start(given, harvest(positions) if builder.harvest_topk and positions else None)]
    _require(torch.equal(given, prompt_ids), "start() changed prompt_ids; its inputs belong to the engine")
    for size in (1, 2, 7, 7, 30):
        tree = _random_tree(size, vocab_size, source)
        path = _path_to(tree, int(torch.randint(size, (), generator=source)))
        verdict = _verdict(tree, path, int(torch.randint(vocab_size, (), generator=source)))
        admitted.append(builder.observe(verdict, tree, harvest(size) if builder.harvest_topk else None))
    for ids, method in zip(admitted, ["start()", *["observe()"] * 5], strict=True):
        _check_ids(ids, vocab_size, f"what {method} returned")
    return [ids.clone() for ids in admitted]


def _random_head(
    source: torch.Generator,
    device: torch.device,
    dtype: torch.dtype,
    biased: bool,
    scale: float,
    softcap: float | None,
) -> OutputHead:
    weight = torch.randn(97, 16, generator=source).to(device, dtype)
    bias = torch.randn(97, generator=source).to(device, dtype) if biased else None
    return OutputHead(weight, bias, scale, softcap)


def _check_while_tokens_change(
    backend: GatherBackend, head: OutputHead, eviction: Eviction, source: torch.Generator
) -> None:
    device = head.weight.device
    store = VocabularyStore(
        head, backend, capacity=16, eviction=eviction, pinned_ids=torch.empty(0, dtype=torch.int64)
    )
    _compare(backend, head, store.active, source)
    for admissions in ((1, 4, 12, 40), (3,)):
        for admitted in admissions:
            store.admit(torch.randint(head.vocab_size, (admitted,), generator=source).to(device))
            _compare(backend, head, store.active, source)
        # What the slots hold now is stale; the next request starts smaller than this one ended.
        store.reset()
        _compare(backend, head, store.active, source)


def _compare(
    backend: GatherBackend, head: OutputHead, active: ActiveSet | None, source: torch.Generator
) -> None:
    """Compare a bound backend with the reference for several N and k, more than are active included."""
    reference = ReferenceGather()
    reference.bind(head, active)
    tolerance = 1e-4 if head.weight.dtype == torch.float32 else 0.1
    for n, k in ((1, 1), (3, 20), (17, 4)):
        hidden = torch.randn(n, head.hidden_size, generator=source).to(head.weight)
        expected_logits, logits = reference.logits(hidden), backend.logits(hidden)
        _require(
            logits.shape == expected_logits.shape,
            f"logits() has shape {tuple(logits.shape)} for {n} rows and {expected_logits.shape[1]} active "
            "tokens",
        )
        _require(
            torch.allclose(logits.float(), expected_logits, atol=tolerance, rtol=tolerance),
            "logits() differs from the product with the head's rows: a row is missing, stale or misplaced",
        )
        _compare_topk(reference, backend, hidden, k, tolerance)


def _compare_topk(
    reference: ReferenceGather, backend: GatherBackend, hidden: Tensor, k: int, tolerance: float
) -> None:
    expected, _ = reference.topk(hidden, k)
    log_probs, token_ids = backend.topk(hidden, k)
    _require(
        log_probs.shape == token_ids.shape == expected.shape,
        f"topk() with k = {k} has shapes {tuple(log_probs.shape)} and {tuple(token_ids.shape)}",
    )
    _require(
        log_probs.dtype == torch.float32 and token_ids.dtype == torch.int64,
        f"topk() has dtypes {log_probs.dtype} and {token_ids.dtype}; they must be float32 and int64",
    )
    active_ids = reference._active_ids()
    found = min(k, len(active_ids))
    _require(
        (token_ids[:, found:] == -1).all() and log_probs[:, found:].isneginf().all(),
        f"topk() with {found} active tokens must fill the columns from {found} on with -inf and -1",
    )
    token_ids, log_probs, expected = token_ids[:, :found], log_probs[:, :found], expected[:, :found]
    _require(torch.isin(token_ids, active_ids).all(), "topk() returned a token that is not active")
    _require(
        all(len(set(row)) == found for row in token_ids.tolist()), "topk() returned a token twice in one row"
    )
    _require(
        torch.allclose(log_probs, expected, atol=tolerance, rtol=tolerance),
        "topk() returned other log-probabilities than the log-softmax over the active set",
    )
    if found:
        slot_of_id = {token_id: slot for slot, token_id in enumerate(active_ids.tolist())}
        slots = torch.tensor([[slot_of_id[i] for i in row] for row in token_ids.tolist()])
        by_slot = reference.logits(hidden).log_softmax(dim=-1)
        _require(
            torch.allclose(
                by_slot.gather(1, slots.to(by_slot.device)), log_probs, atol=tolerance, rtol=tolerance
            ),
            "topk() returned a log-probability that belongs to another token",
        )


def _random_tree(size: int, vocab_size: int, source: torch.Generator) -> DraftTree:
    """Return a tree in topological order in which no two siblings hold the same token."""
    tokens, parents, depths = [int(torch.randint(vocab_size, (), generator=source))], [-1], [0]
    taken: set[tuple[int, int]] = set()
    while len(tokens) < size:
        parent = int(torch.randint(len(tokens), (), generator=source))
        token = int(torch.randint(vocab_size, (), generator=source))
        if (parent, token) not in taken:
            taken.add((parent, token))
            tokens.append(token)
            parents.append(parent)
            depths.append(depths[parent] + 1)
    log_probs = -torch.rand(size, generator=source)
    log_probs[0] = 0.0
    return DraftTree(torch.tensor(tokens), torch.tensor(parents), torch.tensor(depths), log_probs)


def _last_node(tree: DraftTree) -> int:
    """Return the last node that is not padding, that is, not one of the copies of the root at the end."""
    parents = tree.parents.tolist()
    return max((node for node in range(1, len(parents)) if parents[node] != -1), default=0)


def _path_to(tree: DraftTree, node: int) -> tuple[int, ...]:
    path = [node]
    while path[0]:
        path.insert(0, int(tree.parents[path[0]]))
    return tuple(path)


def _verdict(tree: DraftTree, path: tuple[int, ...], next_token: int) -> Verdict:
    return Verdict(
        path=path,
        accepted_ids=tuple(tree.token_ids[list(path[1:])].tolist()),
        next_token=next_token,
        path_ends_at_leaf=not bool((tree.parents == path[-1]).any()),
    )


def _drafts(
    drafter: Drafter, gather: GatherBackend, feature_size: int, allowed: set[int], prompt_length: int
) -> list[DraftTree]:
    """Return the trees of one request of five target passes, each checked."""
    source, head, clock = _generator(), drafter.output_head, PhaseClock()

    def features(n: int) -> Tensor:
        return torch.randn(n, feature_size, generator=source).to(head.weight)

    clock.start()
    prompt_ids = torch.randint(head.vocab_size, (prompt_length,), generator=source)
    prompt_features = features(prompt_length)
    _give_source(drafter, allowed)
    drafter.start(prompt_ids.to(head.weight.device), prompt_features)
    committed, root, trees = prompt_features[-1:], 0, []
    for accept in (False, True, True, False, True):
        tree = drafter.draft(root, committed, gather, clock)
        _check_tree(tree, root, drafter, allowed)
        trees.append(tree)
        path = _path_to(tree, _last_node(tree)) if accept else (0,)
        root = int(torch.randint(head.vocab_size, (), generator=source))
        drafter.commit(_verdict(tree, path, root))
        committed = features(len(path))
    return trees


def _give_source(drafter: Drafter, allowed: set[int]) -> None:
    """Begin a request of a drafter that draws or copies its trees from the ``allowed`` tokens."""
    if isinstance(drafter, CopiesContext):
        drafter.propose_among(lambda ids: torch.tensor([token_id in allowed for token_id in ids]))
    if isinstance(drafter, DrawsTrees):
        active_ids = torch.tensor(sorted(allowed), device=drafter.output_head.weight.device)
        drafter.draw_from(_generator(), lambda count: active_ids[:count])


def _text_for(drafter: Drafter, length: int, source: torch.Generator) -> Tensor:
    """Return random token ids [length], which repeat themselves for a drafter that copies."""
    head, period = drafter.output_head, 7 if isinstance(drafter, CopiesContext) else length
    ids = torch.randint(head.vocab_size, (period,), generator=source)
    return ids.repeat(length // period + 1)[:length].to(head.weight.device)


def _check_resuming(
    drafter: ResumableDrafter, gather: GatherBackend, feature_size: int, allowed: set[int]
) -> None:
    """Check that a request that goes on from another one drafts what it drafts from the start."""
    assert isinstance(drafter, Drafter)
    source, head, clock = _generator(), drafter.output_head, PhaseClock()
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
        _require(0 <= remembered <= known, f"remembered is {remembered} after {known} positions")
        kept = min(kept, remembered)
        if kept:
            _give_source(drafter, allowed)
            drafter.resume(prompt_ids, features[kept:], kept)
            tree = drafter.draft(root, features[-1:], gather, clock)
            _require(
                torch.equal(tree.token_ids, expected.token_ids)
                and torch.equal(tree.parents, expected.parents),
                f"after resume() with {kept} kept positions it drafts another tree than after start()",
            )


def _check_pausing(
    drafter: PausableDrafter, gather: GatherBackend, feature_size: int, allowed: set[int]
) -> None:
    """Check that after tokens without a draft it drafts what it drafts after drafts that came to nothing."""
    assert isinstance(drafter, Drafter)
    head, clock = drafter.output_head, PhaseClock()
    clock.start()
    trees = []
    for pauses in (False, True):
        source = _generator()
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
            drafter.commit(_verdict(tree, (0,), roots[step + 1]))
        trees.append(tree)
    expected, found = trees
    if expected.draws is None:  # what is drawn depends on what was drawn before
        _require(
            torch.equal(found.token_ids, expected.token_ids) and torch.equal(found.parents, expected.parents),
            "after skip() it drafts another tree than after drafts that were rejected",
        )


def _check_copying(drafter: Drafter, gather: GatherBackend, feature_size: int, allowed: set[int]) -> None:
    """Check the trees that follow a text that says the same again and again, in tokens active and not."""
    source, head, clock = _generator(), drafter.output_head, PhaseClock()
    clock.start()
    # The last ids are active in every active set, the first ones in none but the full vocabulary.
    cycle = (head.vocab_size - 1, 0, head.vocab_size - 2, 1)
    text = torch.tensor(cycle, device=head.weight.device).repeat(4)
    features = torch.randn(len(text), feature_size, generator=source).to(head.weight)
    for length in range(2 * len(cycle), 3 * len(cycle)):
        _give_source(drafter, allowed)
        drafter.start(text[:length], features[:length])
        root = int(text[length])
        _check_tree(drafter.draft(root, features[length - 1 : length], gather, clock), root, drafter, allowed)


def _check_tree(tree: DraftTree, root: int, drafter: Drafter, allowed: set[int]) -> None:
    tokens, parents, depths = tree.token_ids.tolist(), tree.parents.tolist(), tree.depths.tolist()
    _require(
        tree.token_ids.dtype == tree.parents.dtype == tree.depths.dtype == torch.int64
        and tree.log_probs.dtype == torch.float32,
        "the tree's ids, parents and depths must be int64 and its log-probabilities float32",
    )
    _require(
        len(tokens) == len(parents) == len(depths) == len(tree.log_probs),
        "the tree's tensors differ in length",
    )
    _require(
        (tokens[0], parents[0], depths[0], float(tree.log_probs[0])) == (root, -1, 0, 0.0),
        "node 0 must be the root: its token, parent -1, depth 0, log-probability 0",
    )
    _require(
        len(tokens) <= drafter.max_nodes,
        f"the tree has {len(tokens)} nodes; max_nodes is {drafter.max_nodes}",
    )
    _require(
        max(depths) <= drafter.max_depth, f"the tree is {max(depths)} deep; max_depth is {drafter.max_depth}"
    )
    nodes = 1 + _last_node(tree)
    _require(
        all(
            (tokens[node], depths[node], float(tree.log_probs[node])) == (root, 0, 0.0)
            for node in range(nodes, len(tokens))
        ),
        "a node with parent -1 must be a copy of the root: its token, depth 0, log-probability 0",
    )
    for node in range(1, nodes):
        _require(0 <= parents[node] < node, f"node {node} comes before its parent {parents[node]}")
        _require(depths[node] == depths[parents[node]] + 1, f"node {node} is not one level below its parent")
        _require(tokens[node] in allowed, f"node {node} holds token {tokens[node]}, which is not active")
    children = list(zip(parents[:nodes], tokens, strict=False))
    _require(len(set(children)) == len(children), "two children of one node hold the same token")
    _require(
        tree.log_probs.isfinite().all() and (tree.log_probs <= 1e-4).all(),
        "a node's log-probability is positive, infinite or NaN",
    )


def _verify(verifier: Verifier, tree: DraftTree, target_logits: Tensor) -> Verdict:
    """Return a verdict whose form was checked, and see that the inputs stay as they were."""
    given = target_logits.clone()
    verdict = verifier.verify(tree, TargetLogits(given, tree), _generator())
    _require(
        torch.equal(given, target_logits),
        "verify() changed target_logits; its inputs belong to the engine",
    )
    path = verdict.path
    _require(path[:1] == (0,), f"the path is {path}; it must begin with the root, node 0")
    _require(
        all(int(tree.parents[node]) == parent for parent, node in pairwise(path)),
        f"the path is {path}; every node must be a child of the one before",
    )
    _require(
        0 <= verdict.next_token < target_logits.shape[1], f"next_token {verdict.next_token} is out of range"
    )
    expected = _verdict(tree, path, verdict.next_token)
    _require(
        verdict.accepted_ids == expected.accepted_ids,
        f"accepted_ids are {verdict.accepted_ids}; the path's tokens are {expected.accepted_ids}",
    )
    _require(
        verdict.path_ends_at_leaf == expected.path_ends_at_leaf,
        f"path_ends_at_leaf is {verdict.path_ends_at_leaf} for node {path[-1]}",
    )
    return verdict
