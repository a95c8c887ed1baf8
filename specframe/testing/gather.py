"""The conformance check of gather backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Eviction, GatherBackend
from specframe.testing.reference import (
    ReferenceGather,
    generator,
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
            head = _random_head(source, torch.device(device), dtype, biased, scale, softcap)
            backend = make_backend()
            require_contract(backend, GatherBackend)
            backend.bind(head, None)
            _compare(backend, head, None, source)
            _check_while_tokens_change(make_backend(), head, "lru" if biased else "fifo", source)


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
