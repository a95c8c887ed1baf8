"""The conformance check of gather backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import GatherBackend
from specframe.contracts.screen import Candidates
from specframe.testing.reference import (
    ReferenceGather,
    generator,
    random_head,
    require,
    require_contract,
)
from specframe.vocabulary.store import VocabularyStore


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
    source = generator()
    for dtype in dtypes:
        for biased, scale, softcap in ((False, 1.0, None), (True, 0.5, 3.0)):
            head = random_head(source, torch.device(device), dtype, biased, scale, softcap)
            backend = make_backend()
            require_contract(backend, GatherBackend)
            backend.bind(head, None)
            _compare(backend, head, None, source)
            _check_while_tokens_change(make_backend(), head, "lru" if biased else "fifo", source)
            if backend.scores_candidates:
                _check_candidates(make_backend, head, source)


def _check_while_tokens_change(
    backend: GatherBackend, head: OutputHead, eviction: Eviction, source: torch.Generator
) -> None:
    device = head.weight.device
    store = VocabularyStore(
        head, backend, capacity=6, eviction=eviction, pinned_ids=torch.empty(0, dtype=torch.int64)
    )
    _compare(backend, head, store.active, source)
    # Some, as many as displace others, and more than there are slots; then a smaller request.
    for admissions in ((1, 4, 5, 20), (3,)):
        for admitted in admissions:
            store.admit(torch.randint(head.vocab_size, (admitted,), generator=source).to(device))
            _compare(backend, head, store.active, source)
        # What the slots hold now is stale; the next request starts smaller than this one ended.
        store.reset()
        _compare(backend, head, store.active, source)


def _check_candidates(
    make_backend: Callable[[], GatherBackend], head: OutputHead, source: torch.Generator
) -> None:
    """Compare ``candidate_topk`` with the reference: without an active set, and beside one that grows."""
    for capacity in (0, 6):
        backend = make_backend()
        pinned = torch.empty(0, dtype=torch.int64)
        store = VocabularyStore(head, backend, capacity=capacity, pinned_ids=pinned)
        for admitted in (0, 4) if capacity else (0,):
            store.admit(torch.randint(head.vocab_size, (admitted,), generator=source).to(head.device))
            reference = ReferenceGather()
            reference.bind(head, store.active)
            active = store.active.token_of[: int(store.active.count)].long()
            for n, width, k in ((1, 1, 3), (3, 20, 8), (9, 5, 12)):
                hidden = torch.randn(n, head.hidden_size, generator=source).to(head.weight)
                shuffled = [torch.randperm(head.vocab_size, generator=source)[:width] for _ in range(n)]
                rows = torch.stack(shuffled).to(head.device)
                if width > len(active):
                    rows[::2, : len(active)] = active
                rows[:, -1] = -1
                rows = _once(rows)
                known = torch.randn(n, generator=source).to(head.device)
                for candidates in (Candidates(rows), Candidates(rows, known)):
                    _compare_candidates(reference, backend, hidden, k, candidates)


def _once(rows: Tensor) -> Tensor:
    """Return rows [N, C] in which all but the first of equal rows of a state are none."""
    earlier = (rows[:, :, None] == rows[:, None, :]).tril(-1).any(-1)
    return rows.masked_fill(earlier, -1)


def _compare_candidates(
    reference: ReferenceGather, backend: GatherBackend, hidden: Tensor, k: int, candidates: Candidates
) -> None:
    tolerance = 1e-4 if hidden.dtype == torch.float32 else 0.1
    given = candidates.rows.clone()
    log_probs, rows = backend.candidate_topk(hidden, k, candidates)
    require(torch.equal(given, candidates.rows), "candidate_topk() changed the candidates")
    expected, _ = reference.candidate_topk(hidden, k, candidates)
    require(
        log_probs.shape == rows.shape == expected.shape,
        f"candidate_topk() with k = {k} has shapes {tuple(log_probs.shape)} and {tuple(rows.shape)}",
    )
    require(
        log_probs.dtype == torch.float32 and rows.dtype == torch.int64,
        f"candidate_topk() has dtypes {log_probs.dtype} and {rows.dtype}; they must be float32 and int64",
    )
    nothing = expected.isneginf()
    require(
        bool(((rows == -1) == nothing).all()) and bool((log_probs.isneginf() == nothing).all()),
        "candidate_topk() must fill what is left with -inf and -1, and nothing else",
    )
    union = [set(one) | set(reference.active_ids().tolist()) for one in candidates.rows.tolist()]
    found = [[row for row in one if row >= 0] for one in rows.tolist()]
    require(
        all(set(one) <= allowed for one, allowed in zip(found, union, strict=True)),
        "candidate_topk() returned a row that is neither active nor a candidate of its state",
    )
    require(all(len(set(one)) == len(one) for one in found), "candidate_topk() returned a row twice")
    over = "log_total" if candidates.log_total is not None else "candidates and active set"
    require(
        torch.allclose(log_probs, expected, atol=tolerance, rtol=tolerance),
        f"candidate_topk() returned other log-probabilities than those by {over}",
    )
    every, names = reference.candidate_topk(hidden, reference.vocab_size, candidates)
    own = every.gather(1, (names[:, None, :] == rows[:, :, None]).int().argmax(-1))
    require(
        torch.allclose(own[~nothing], log_probs[~nothing], atol=tolerance, rtol=tolerance),
        "candidate_topk() returned a log-probability that belongs to another row",
    )


def _compare(
    backend: GatherBackend, head: OutputHead, active: ActiveSet | None, source: torch.Generator
) -> None:
    """Compare a bound backend with the reference for several N and k, more than are active included."""
    reference = ReferenceGather()
    reference.bind(head, active)
    tolerance = 1e-4 if head.weight.dtype == torch.float32 else 0.1
    for n, k in ((1, 1), (2, 8), (17, 2)):
        hidden = torch.randn(n, head.hidden_size, generator=source).to(head.weight)
        expected_logits, logits = reference.logits(hidden), backend.logits(hidden)
        require(
            logits.shape == expected_logits.shape,
            f"logits() has shape {tuple(logits.shape)} for {n} rows and {expected_logits.shape[1]} active "
            "tokens",
        )
        require(
            torch.allclose(logits.float(), expected_logits, atol=tolerance, rtol=tolerance),
            "logits() differs from the product with the head's rows: a row is missing, stale or misplaced",
        )
        if active is not None:
            by_slot = backend.slot_logits(hidden, active.capacity)
            found = expected_logits.shape[1]
            require(
                by_slot.shape == (n, active.capacity)
                and torch.equal(by_slot[:, :found].float(), logits.float())
                and bool(by_slot[:, found:].isneginf().all()),
                "slot_logits() must be logits() with -inf for the slots that hold nothing",
            )
        _compare_topk(reference, backend, hidden, k, tolerance)


def _compare_topk(
    reference: ReferenceGather, backend: GatherBackend, hidden: Tensor, k: int, tolerance: float
) -> None:
    expected, _ = reference.topk(hidden, k)
    log_probs, token_ids = backend.topk(hidden, k)
    require(
        log_probs.shape == token_ids.shape == expected.shape,
        f"topk() with k = {k} has shapes {tuple(log_probs.shape)} and {tuple(token_ids.shape)}",
    )
    require(
        log_probs.dtype == torch.float32 and token_ids.dtype == torch.int64,
        f"topk() has dtypes {log_probs.dtype} and {token_ids.dtype}; they must be float32 and int64",
    )
    active_ids = reference.active_ids()
    found = min(k, len(active_ids))
    require(
        (token_ids[:, found:] == -1).all() and log_probs[:, found:].isneginf().all(),
        f"topk() with {found} active tokens must fill the columns from {found} on with -inf and -1",
    )
    token_ids, log_probs, expected = token_ids[:, :found], log_probs[:, :found], expected[:, :found]
    require(torch.isin(token_ids, active_ids).all(), "topk() returned a token that is not active")
    require(
        all(len(set(row)) == found for row in token_ids.tolist()), "topk() returned a token twice in one row"
    )
    require(
        torch.allclose(log_probs, expected, atol=tolerance, rtol=tolerance),
        "topk() returned other log-probabilities than the log-softmax over the active set",
    )
    if found:
        slot_of_id = {token_id: slot for slot, token_id in enumerate(active_ids.tolist())}
        slots = torch.tensor([[slot_of_id[i] for i in row] for row in token_ids.tolist()])
        by_slot = reference.logits(hidden).log_softmax(dim=-1)
        require(
            torch.allclose(
                by_slot.gather(1, slots.to(by_slot.device)), log_probs, atol=tolerance, rtol=tolerance
            ),
            "topk() returned a log-probability that belongs to another token",
        )
