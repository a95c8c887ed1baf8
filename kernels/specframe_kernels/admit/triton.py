"""``admit`` in three launches, four with ``lru``.

Within a launch no thread reads what another one writes: the order of launches is the only synchronization,
because a barrier inside a Triton program orders global memory on some devices and not on others. The result
cannot depend on scheduling: the maximum of positions is the same in whatever order they arrive, the rest is
prefix sums inside one program, and writes that never meet.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from specframe_kernels.admit.state import Admission
from specframe_kernels.launch import Launch

PLAN_BLOCK = 1024
BLOCK = 256

USED = tl.constexpr(0)
SEEN = tl.constexpr(1)
OLDEST = tl.constexpr(2)


@triton.jit(do_not_specialize=["n", "vocab_size"])
def _mark(ids, last_position, n, vocab_size, BLOCK: tl.constexpr):
    """Write to each candidate where it stands last."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    token = tl.load(ids + at, mask=at < n, other=-1)
    valid = (token >= 0) & (token < vocab_size)
    tl.atomic_max(last_position + token, at, mask=valid, sem="relaxed")


@triton.jit
def _candidates(ids, slot_of, last_position, at, n, vocab_size, pinned, LRU: tl.constexpr):
    """Return ids, slots, and which positions ``at`` hold a candidate that takes or keeps a slot."""
    token = tl.load(ids + at, mask=at < n, other=-1)
    valid = (token >= 0) & (token < vocab_size)
    slot = tl.load(slot_of + token, mask=valid, other=0)
    matters = slot < 0
    if LRU:
        matters = matters | (slot >= pinned)
    stands_last = tl.load(last_position + token, mask=valid, other=-1) == at
    return token, slot, valid & stands_last & matters


@triton.jit(do_not_specialize=["n", "vocab_size", "pinned", "ring"])
def _plan(
    ids,
    slot_of,
    last_position,
    admitted,
    new_slots,
    new_ids,
    new_count,
    seen,
    scalars,
    n,
    vocab_size,
    pinned,
    ring,
    LRU: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """List the new ids and, for ``fifo``, their slots; for ``lru`` list everything that was seen."""
    lane = tl.arange(0, BLOCK)
    given_out = tl.load(admitted)
    total = 0
    for start in range(0, n, BLOCK):
        at = start + lane
        _, _, counts = _candidates(ids, slot_of, last_position, at, n, vocab_size, pinned, LRU)
        total += tl.sum(counts.to(tl.int32))
    too_many = tl.maximum(total - ring, 0)

    ranked = 0
    new = 0
    oldest = n
    for start in range(0, n, BLOCK):
        at = start + lane
        token, slot, counts = _candidates(ids, slot_of, last_position, at, n, vocab_size, pinned, LRU)
        place = ranked + tl.cumsum(counts.to(tl.int32)) - 1 - too_many
        stays = counts & (place >= 0)
        is_new = stays & (slot < 0)
        index = new + tl.cumsum(is_new.to(tl.int32)) - 1
        tl.store(new_ids + index, token.to(tl.int32), mask=is_new)
        if LRU:
            tl.store(seen + place, tl.where(is_new, -1 - index, slot), mask=stays)
        else:
            tl.store(new_slots + index, (pinned + (given_out + index) % ring).to(tl.int32), mask=is_new)
        oldest = tl.minimum(oldest, tl.min(tl.where(stays, at, n)))
        ranked += tl.sum(counts.to(tl.int32))
        new += tl.sum(is_new.to(tl.int32))

    tl.store(new_count, new)
    tl.store(scalars + USED, (pinned + tl.minimum(given_out, ring)).to(tl.int32))
    tl.store(scalars + SEEN, total - too_many)
    tl.store(scalars + OLDEST, oldest)


@triton.jit(do_not_specialize=["pinned", "ring"])
def _make_room(
    order,
    token_of,
    last_position,
    new_slots,
    new_count,
    next_order,
    scalars,
    pinned,
    ring,
    BLOCK: tl.constexpr,
):
    """Move the slots that were not seen up, in order; the first of them go to the new ids."""
    lane = tl.arange(0, BLOCK)
    used = tl.load(scalars + USED)
    oldest = tl.load(scalars + OLDEST)
    new = tl.load(new_count)
    moved = 0
    for start in range(0, ring, BLOCK):
        at = start + lane
        place = tl.load(order + at, mask=at < ring, other=0)
        owned = (at < ring) & (pinned + place < used)
        owner = tl.load(token_of + pinned + place, mask=owned, other=0)
        # An owner that is a candidate but stands before the first that stays was not seen.
        moves = (at < ring) & (tl.load(last_position + owner, mask=owned, other=-1) < oldest)
        rank = moved + tl.cumsum(moves.to(tl.int32)) - 1
        tl.store(new_slots + rank, pinned + place, mask=moves & (rank < new))
        tl.store(next_order + rank - new, place, mask=moves & (rank >= new))
        moved += tl.sum(moves.to(tl.int32))


@triton.jit(do_not_specialize=["n", "vocab_size", "pinned", "ring"])
def _occupy(
    ids,
    slot_of,
    token_of,
    count,
    admitted,
    order,
    last_position,
    new_slots,
    new_ids,
    new_count,
    seen,
    next_order,
    scalars,
    n,
    vocab_size,
    pinned,
    ring,
    LRU: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Hand the slots over. Slots differ, and former owners are not new ids: no two writes meet."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    used = tl.load(scalars + USED)
    new = tl.load(new_count)
    token = tl.load(new_ids + at, mask=at < new, other=0)
    slot = tl.load(new_slots + at, mask=at < new, other=0)
    evicts = (at < new) & (slot < used)
    owner = tl.load(token_of + slot, mask=evicts, other=0)
    tl.store(slot_of + owner, -1, mask=evicts)
    tl.store(slot_of + token, slot, mask=at < new)
    tl.store(token_of + slot, token, mask=at < new)
    if LRU:
        unseen = ring - tl.load(scalars + SEEN)
        place = tl.load(next_order + at, mask=at < unseen, other=0)
        at_end = (at >= unseen) & (at < ring)
        slot = tl.load(seen + at - unseen, mask=at_end, other=0)
        is_new = at_end & (slot < 0)
        slot = tl.where(is_new, tl.load(new_slots - 1 - slot, mask=is_new, other=0), slot)
        tl.store(order + at, tl.where(at_end, slot - pinned, place), mask=at < ring)
    token = tl.load(ids + at, mask=at < n, other=-1)
    tl.store(last_position + token, -1, mask=(token >= 0) & (token < vocab_size))
    if tl.program_id(0) == 0:
        tl.store(count, tl.minimum(used + new, pinned + ring).to(tl.int64))
        tl.store(admitted, tl.load(admitted) + new)


def launches(state: Admission, ids: Tensor) -> list[Launch]:
    """Return the launches of one admission of ``ids`` [n] int64; none if there is nothing to give out."""
    n, ring = ids.shape[0], state.ring
    if n == 0 or ring == 0:
        return []
    candidates = {"n": n, "vocab_size": state.slot_of.shape[0]}
    slots = {"pinned": state.pinned, "ring": ring}
    result = {"new_slots": state.new_slots, "new_count": state.new_count, "scalars": state.scalars}
    mark = Launch(
        kernel=_mark,
        grid=(triton.cdiv(n, BLOCK),),
        arguments={"ids": ids, "last_position": state.last_position, **candidates, "BLOCK": BLOCK},
    )
    plan = Launch(
        kernel=_plan,
        grid=(1,),
        arguments={
            "ids": ids,
            "slot_of": state.slot_of,
            "last_position": state.last_position,
            "admitted": state.admitted,
            "new_ids": state.new_ids,
            "seen": state.seen,
            **result,
            **candidates,
            **slots,
            "LRU": state.lru,
            "BLOCK": PLAN_BLOCK,
        },
        num_warps=8,
    )
    make_room = Launch(
        kernel=_make_room,
        grid=(1,),
        arguments={
            "order": state.order,
            "token_of": state.token_of,
            "last_position": state.last_position,
            "next_order": state.next_order,
            **result,
            **slots,
            "BLOCK": PLAN_BLOCK,
        },
        num_warps=8,
    )
    occupy = Launch(
        kernel=_occupy,
        grid=(triton.cdiv(max(n, ring) if state.lru else n, BLOCK),),
        arguments={
            "ids": ids,
            "slot_of": state.slot_of,
            "token_of": state.token_of,
            "count": state.count,
            "admitted": state.admitted,
            "order": state.order,
            "last_position": state.last_position,
            "new_ids": state.new_ids,
            "seen": state.seen,
            "next_order": state.next_order,
            **result,
            **candidates,
            **slots,
            "LRU": state.lru,
            "BLOCK": BLOCK,
        },
    )
    return [mark, plan, make_room, occupy] if state.lru else [mark, plan, occupy]


def admit(state: Admission, ids: Tensor) -> None:
    """Make ``ids`` [n] int64 active and list the rows to fetch; ``naive`` has the definition."""
    steps = launches(state, ids)
    if not steps:
        state.new_count.zero_()
    for launch in steps:
        launch.run()
