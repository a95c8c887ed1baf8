"""The conformance check of gather backends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.kinds import Eviction
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Admitter, GatherBackend
from specframe.contracts.screen import Candidates
from specframe.testing.promises import (
    alone,
    called,
    made_by,
    require,
    require_contract,
    require_flag,
    require_tensor,
    unblamed,
)
from specframe.testing.reference import ReferenceGather, generator, random_head
from specframe.vocabulary.store import VocabularyStore

# What products of a dtype may differ by, for values of about 10.
_TOLERANCES = {torch.float32: 1e-4}
_HALF_TOLERANCE = 0.1


class _Called(GatherBackend):
    """A backend whose every call is checked, in the place where the core calls it.

    Args:
        backend: does the work.
    """

    def __init__(self, backend: GatherBackend) -> None:
        require_contract(backend, GatherBackend)
        for name in ("capturable", "scores_candidates"):
            require_flag(backend, name)
        self._backend = backend
        self.capturable, self.scores_candidates = backend.capturable, backend.scores_candidates

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach the backend."""
        called(self._backend, "bind", head, active)

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy the rows of ``ids`` [n] into ``slots`` [n]."""
        called(self._backend, "fetch", slots, ids)

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64."""
        return _pair(called(self._backend, "topk", hidden, k), "topk()", hidden, k)

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and rows [N, k] int64."""
        found = called(self._backend, "candidate_topk", hidden, k, candidates)
        return _pair(found, "candidate_topk()", hidden, k)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens [N, K] float32."""
        found: Tensor = called(self._backend, "logits", hidden)
        require_tensor(found, "what logits() returned", torch.float32, (len(hidden), None), hidden.device)
        return found

    def slot_logits(self, hidden: Tensor, capacity: int) -> Tensor:
        """Return the logits of all slots [N, capacity] float32."""
        found: Tensor = called(self._backend, "slot_logits", hidden, capacity)
        shape = (len(hidden), capacity)
        require_tensor(found, "what slot_logits() returned", torch.float32, shape, hidden.device)
        return found

    def join(self) -> None:
        """Wait for rows."""
        called(self._backend, "join")

    def admitter(self, active: ActiveSet, pinned: int, eviction: Eviction) -> Admitter | None:
        """Return the backend's own admitter."""
        found: Admitter | None = called(self._backend, "admitter", active, pinned, eviction)
        lacking = [name for name in ("admit", "reset", "admitted", "tensors") if not hasattr(found, name)]
        require(
            found is None or not lacking,
            f"admitter() returned a {type(found).__name__} without {lacking[:1]}; it must be an Admitter, "
            "or None",
        )
        return found

    def held(self) -> tuple[Tensor, ...]:
        """Return what the backend holds."""
        found: tuple[Tensor, ...] = called(self._backend, "held")
        require(
            isinstance(found, tuple) and all(isinstance(one, Tensor) for one in found),
            "held() must return a tuple of tensors",
        )
        return found


def _pair(found: Any, method: str, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and ids [N, k], checked for their form."""
    require(
        isinstance(found, tuple) and len(found) == 2,
        f"{method} returned a {type(found).__name__}; it must be the tuple (log_probs, ids)",
    )
    shape = (len(hidden), k)
    for tensor, name, dtype in zip(found, ("log_probs", "ids"), (torch.float32, torch.int64), strict=True):
        require_tensor(tensor, f"{name} of {method} with k = {k}", dtype, shape, hidden.device)
    require(not found[0].isnan().any(), f"{method} returned a log-probability that is NaN")
    return found  # type: ignore[no-any-return]  # it was just looked at


@alone
def check_gather_backend(
    make_backend: Callable[[], GatherBackend],
    device: torch.device | str = "cpu",
    dtypes: Iterable[torch.dtype] = (torch.float32, torch.bfloat16),
    *,
    tolerance: float | None = None,
) -> None:
    """Check a gather backend against ``ReferenceGather`` while tokens come, go and come back.

    Args:
        make_backend: returns a new, unbound backend.
        device: where to run it.
        dtypes: of the LM heads to run it with.
        tolerance: what its logits and log-probabilities may differ by, of values of about 10, absolutely and
            relatively: for a backend that keeps rows in fewer bits. None for what rounding in each dtype
            takes, 0.0001 for float32 and 0.1 for others.

    Raises:
        BrokenPromise: it breaks a promise of ``GatherBackend``.
        ValueError: the tolerance is no number above 0.
    """
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance > 0.0):
        raise ValueError(f"tolerance is {tolerance}; allowed: a number above 0, or None")
    source = generator()

    def make() -> GatherBackend:
        return _Called(made_by(make_backend))

    for dtype in dtypes:
        within = tolerance or _TOLERANCES.get(dtype, _HALF_TOLERANCE)
        for biased, scale, softcap in ((False, 1.0, None), (True, 0.5, 3.0)):
            head = random_head(source, torch.device(device), dtype, biased, scale, softcap)
            weight, bias = head.weight.clone(), None if head.bias is None else head.bias.clone()
            backend = make()
            backend.bind(head, None)
            _compare(backend, head, None, source, within)
            _check_while_tokens_change(make(), head, "lru" if biased else "fifo", source, within)
            if backend.scores_candidates:
                _check_candidates(make, head, source, within)
            same = torch.equal(head.weight, weight) and (bias is None or torch.equal(head.bias, bias))  # type: ignore[arg-type]  # a head keeps its bias
            require(same, "the backend changed the LM head")


def _check_while_tokens_change(
    backend: GatherBackend, head: OutputHead, eviction: Eviction, source: torch.Generator, within: float
) -> None:
    device = head.weight.device
    pinned = torch.tensor([head.vocab_size - 1, 2], device=device)
    with unblamed():
        store = VocabularyStore(head, backend, capacity=6, eviction=eviction, pinned_ids=pinned)
    _compare(backend, head, store.active, source, within)
    # Some, as many as displace others, and more than there are slots; then a smaller request.
    for admissions in ((1, 4, 5, 20), (3,)):
        for admitted in admissions:
            with unblamed():
                store.admit(torch.randint(head.vocab_size, (admitted,), generator=source).to(device))
            _compare(backend, head, store.active, source, within)
        # What the slots hold now is stale; the next request starts smaller than this one ended.
        with unblamed():
            store.reset()
        _compare(backend, head, store.active, source, within)


def _check_candidates(
    make_backend: Callable[[], GatherBackend], head: OutputHead, source: torch.Generator, within: float
) -> None:
    """Compare ``candidate_topk`` with the reference: without an active set, and beside one that grows."""
    for capacity in (0, 6):
        backend = make_backend()
        pinned = torch.empty(0, dtype=torch.int64)
        with unblamed():
            store = VocabularyStore(head, backend, capacity=capacity, pinned_ids=pinned)
        for admitted in (0, 4) if capacity else (0,):
            with unblamed():
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
                    _compare_candidates(reference, backend, hidden, k, candidates, within)


def _once(rows: Tensor) -> Tensor:
    """Return rows [N, C] in which all but the first of equal rows of a state are none."""
    earlier = (rows[:, :, None] == rows[:, None, :]).tril(-1).any(-1)
    return rows.masked_fill(earlier, -1)


def _compare_candidates(
    reference: ReferenceGather,
    backend: GatherBackend,
    hidden: Tensor,
    k: int,
    candidates: Candidates,
    tolerance: float,
) -> None:
    given = candidates.rows.clone()
    log_probs, rows = backend.candidate_topk(hidden, k, candidates)
    require(torch.equal(given, candidates.rows), "candidate_topk() changed the candidates")
    expected, _ = reference.candidate_topk(hidden, k, candidates)
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
    backend: GatherBackend,
    head: OutputHead,
    active: ActiveSet | None,
    source: torch.Generator,
    tolerance: float,
) -> None:
    """Compare a bound backend with the reference for several N and k, more than are active included."""
    reference = ReferenceGather()
    reference.bind(head, active)
    members = (
        None if active is None else [one.clone() for one in (active.slot_of, active.token_of, active.count)]
    )
    for n, k in ((1, 1), (2, 8), (17, 2)):
        hidden = torch.randn(n, head.hidden_size, generator=source).to(head.weight)
        expected_logits, logits = reference.logits(hidden), backend.logits(hidden)
        require(
            logits.shape == expected_logits.shape,
            f"logits() has shape {tuple(logits.shape)} for {n} rows and {expected_logits.shape[1]} active "
            "tokens",
        )
        require(
            torch.allclose(logits, expected_logits, atol=tolerance, rtol=tolerance),
            "logits() differs from the product with the head's rows: a row is missing, stale or misplaced"
            + _off_by(logits, expected_logits, tolerance),
        )
        if active is not None:
            by_slot = backend.slot_logits(hidden, active.capacity)
            found = expected_logits.shape[1]
            require(
                torch.allclose(by_slot[:, :found], logits, atol=tolerance, rtol=tolerance)
                and bool(by_slot[:, found:].isneginf().all()),
                "slot_logits() must be logits() with -inf for the slots that hold nothing",
            )
        _compare_topk(reference, backend, hidden, k, tolerance)
    backend.join()
    backend.held()
    if active is not None and members is not None:
        now = (active.slot_of, active.token_of, active.count)
        require(
            all(map(torch.equal, members, now)),
            "the backend wrote into the active set, whose only writer is the admitter",
        )


def _off_by(found: Tensor, expected: Tensor, tolerance: float) -> str:
    """Return how far numbers are from what is expected, as the end of a sentence."""
    largest = (found - expected).abs().max().item() if found.numel() else 0.0
    return f" (off by {largest:.3g}; tolerance {tolerance:g})"


def _compare_topk(
    reference: ReferenceGather, backend: GatherBackend, hidden: Tensor, k: int, tolerance: float
) -> None:
    expected, _ = reference.topk(hidden, k)
    log_probs, token_ids = backend.topk(hidden, k)
    if k == 1:  # once is enough
        kept = log_probs.clone(), token_ids.clone()
        backend.logits(hidden)
        require(
            torch.equal(log_probs, kept[0]) and torch.equal(token_ids, kept[1]),
            "what topk() returned was written over before its next call; until then it must hold",
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
        "topk() returned other log-probabilities than the log-softmax over the active set"
        + _off_by(log_probs, expected, tolerance),
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
