"""``admit`` one candidate at a time: the definition that the kernel must equal, slot by slot."""

from __future__ import annotations

from torch import Tensor

from specframe_kernels.admit.state import Admission


def admit(state: Admission, ids: Tensor) -> None:
    """Make ``ids`` [n] active and list the rows to fetch in ``state.new_slots`` and ``state.new_ids``.

    A repeated id counts where it stands last. Pinned ids and ids outside the vocabulary are skipped, so -1
    can fill up a buffer of fixed size. Of more candidates than ring slots, the last ones stay.
    """
    slot_of, ring, pinned = state.slot_of.tolist(), state.ring, state.pinned
    valid = [token for token in ids.tolist() if 0 <= token < len(slot_of)]
    standing_last = list(reversed(dict.fromkeys(reversed(valid))))
    candidates = [token for token in standing_last if not 0 <= slot_of[token] < pinned]
    admitted = int(state.admitted)
    order = state.order.tolist()
    if state.lru:
        candidates = candidates[len(candidates) - min(len(candidates), ring) :]
        touched = {slot_of[token] - pinned for token in candidates if slot_of[token] >= 0}
        order = [place for place in order if place not in touched]
        new = [token for token in candidates if slot_of[token] < 0]
        places, order = order[: len(new)], order[len(new) :]
        place_of = dict(zip(new, places, strict=True))
        order += [place_of.get(token, slot_of[token] - pinned) for token in candidates]
    else:
        new = [token for token in candidates if slot_of[token] < 0]
        new = new[len(new) - min(len(new), ring) :]
        places = [(admitted + i) % ring for i in range(len(new))]

    used = int(state.count)
    for place, token in zip(places, new, strict=True):
        slot = pinned + place
        if slot < used:
            state.slot_of[int(state.token_of[slot])] = -1
        state.slot_of[token] = slot
        state.token_of[slot] = token
    state.count.fill_(min(pinned + admitted + len(new), len(state.token_of)))
    state.admitted.fill_(admitted + len(new))
    state.order.copy_(state.order.new_tensor(order))
    state.new_slots[: len(new)] = state.new_slots.new_tensor([pinned + place for place in places])
    state.new_ids[: len(new)] = state.new_ids.new_tensor(new)
    state.new_count.fill_(len(new))
